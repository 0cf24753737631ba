//! Help texts in the spelling users type: flags with a single dash.

/// Help of the command at `path` below `root`, one page.
pub(crate) fn render(mut root: clap::Command, path: &[String]) -> String {
    root.build();
    let mut command = &mut root;
    for name in path {
        command =
            command.find_subcommand_mut(name).expect("a path is made of commands that were found");
    }
    single_dashes(&command.render_help().to_string())
}

/// Rewrites every `--flag` at the start of a word to `-flag`.
pub(crate) fn single_dashes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let starts_word = before.is_whitespace() || matches!(before, '\'' | '[' | '(' | '`' | '<');
        let flag = rest
            .strip_prefix("--")
            .filter(|after| starts_word && after.starts_with(|c: char| c.is_ascii_alphabetic()));
        if let Some(after) = flag {
            out.push('-');
            (before, rest) = ('-', after);
        } else {
            out.push(next);
            (before, rest) = (next, &rest[next.len_utf8()..]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_flags_lose_a_dash() {
        let check = |text: &str, want: &str| assert_eq!(single_dashes(text), want);
        check("      --http-addr <A>\n", "      -http-addr <A>\n");
        check("invalid value 'x' for '--n <N>'", "invalid value 'x' for '-n <N>'");
        check("a -- b, c--d, ---", "a -- b, c--d, ---");
    }
}
