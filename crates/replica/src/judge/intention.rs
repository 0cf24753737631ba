//! Intentions: names, wildcards, sizes; defaults, dates, precedence and fingerprint.

use model::command::Command;
use model::error::Error;
use model::intention::{DEFAULT_NAMESPACE, Intention, IntentionRequest, WILDCARD};
use sha1::{Digest, Sha1};

use crate::judge::{Context, Judged, all_faults, new_uuid};

/// The one kind of source there is.
const SOURCE_TYPE: &str = "consul";
const DESCRIPTION_BYTES_MAX: usize = 512;
const META_PAIRS_MAX: usize = 64;
const META_KEY_BYTES_MAX: usize = 128;
const META_VALUE_BYTES_MAX: usize = 512;

pub(super) fn judge(request: IntentionRequest, context: &mut Context<'_>) -> Result<Judged, Error> {
    let judged = match request {
        IntentionRequest::Upsert(intention) => {
            IntentionRequest::Upsert(Box::new(upsert(*intention, context)?))
        }
        IntentionRequest::Delete(id) => {
            if find(&id, context)?.is_none() {
                return Err(Error::not_found(format!(
                    "Cannot delete non-existent intention: '{id}'"
                )));
            }
            IntentionRequest::Delete(id)
        }
    };
    Ok(Judged::Propose(Command::Intention(judged)))
}

fn upsert(mut intention: Intention, context: &mut Context<'_>) -> Result<Intention, Error> {
    intention.updated_at = context.now.wall;
    if intention.id.is_empty() {
        intention.created_at = context.now.wall;
        intention.id = loop {
            let id = new_uuid(context.rng);
            if context.state.intention(&id).is_none() {
                break id;
            }
        };
    } else {
        let existing = find(&intention.id, context)?.ok_or_else(|| {
            let message = format!("Cannot modify non-existent intention: '{}'", intention.id);
            Error::not_found(message)
        })?;
        intention.created_at = existing.created_at;
    }
    let default = |field: &mut String, value: &str| {
        if field.is_empty() {
            value.clone_into(field);
        }
    };
    default(&mut intention.source_namespace, DEFAULT_NAMESPACE);
    default(&mut intention.destination_namespace, DEFAULT_NAMESPACE);
    default(&mut intention.source_type, SOURCE_TYPE);
    all_faults(faults(&intention))?;
    intention.precedence =
        Intention::precedence_of(&intention.source_name, &intention.destination_name);
    intention.hash = fingerprint(&intention);
    (intention.create_index, intention.modify_index) = (0, 0);
    Ok(intention)
}

fn find<'a>(
    id: &str,
    context: &Context<'a>,
) -> Result<Option<&'a std::sync::Arc<Intention>>, Error> {
    if id.len() != 36 {
        return Err(Error::invalid(
            "Intention lookup failed: failed intention lookup: index error: \
             UUID must be 36 characters",
        ));
    }
    Ok(context.state.intention(id))
}

fn faults(intention: &Intention) -> Vec<String> {
    let mut faults = Vec::new();
    for (side, namespace, name) in [
        ("Source", &intention.source_namespace, &intention.source_name),
        ("Destination", &intention.destination_namespace, &intention.destination_name),
    ] {
        if name.is_empty() {
            faults.push(format!("{side}Name must be set"));
        }
        for (field, value) in [("NS", namespace), ("Name", name)] {
            if value.contains(WILDCARD) && value != WILDCARD {
                faults.push(format!(
                    "{side}{field}: wildcard character '*' cannot be used with partial values"
                ));
            }
        }
        if namespace == WILDCARD && !name.is_empty() && name != WILDCARD {
            faults.push(format!("{side}Name: exact value cannot follow wildcard namespace"));
        }
    }
    if intention.description.len() > DESCRIPTION_BYTES_MAX {
        faults.push(format!("Description exceeds maximum length {DESCRIPTION_BYTES_MAX}"));
    }
    if intention.meta.len() > META_PAIRS_MAX {
        faults.push(format!("Meta exceeds maximum element count {META_PAIRS_MAX}"));
    }
    for (key, value) in &intention.meta {
        if key.len() > META_KEY_BYTES_MAX {
            faults.push(format!("Meta key {key:?} exceeds maximum length {META_KEY_BYTES_MAX}"));
        }
        if value.len() > META_VALUE_BYTES_MAX {
            faults.push(format!(
                "Meta value for key {key:?} exceeds maximum length {META_VALUE_BYTES_MAX}"
            ));
        }
    }
    if intention.source_type != SOURCE_TYPE {
        faults.push("SourceType must be set to 'consul'".into());
    }
    faults
}

/// 32 bytes over what the intention says, indexes and dates aside. Tells contents apart; it
/// protects nothing.
fn fingerprint(intention: &Intention) -> Vec<u8> {
    let Intention {
        id,
        description,
        source_namespace,
        source_name,
        destination_namespace,
        destination_name,
        source_type,
        action,
        default_addr,
        default_port,
        meta,
        precedence,
        created_at: _,
        updated_at: _,
        hash: _,
        create_index: _,
        modify_index: _,
    } = intention;
    let mut content = Sha1::new();
    let mut add = |text: &str| {
        content.update((text.len() as u64).to_le_bytes());
        content.update(text);
    };
    for text in [
        id,
        description,
        source_namespace,
        source_name,
        destination_namespace,
        destination_name,
        source_type,
        action.as_str(),
        default_addr,
        &default_port.to_string(),
        &precedence.to_string(),
    ] {
        add(text);
    }
    for (key, value) in meta {
        add(key);
        add(value);
    }
    let first = content.finalize();
    let second = Sha1::digest(first);
    first.iter().chain(second.iter()).copied().take(32).collect()
}
