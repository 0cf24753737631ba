//! What the tests of this crate share.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Runs `openssl`, which every machine that runs the tests has.
pub(crate) fn openssl(arguments: &[&str]) -> String {
    openssl_with(arguments, "")
}

/// As [`openssl`], with `input` on its standard input.
pub(crate) fn openssl_with(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is on the path");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// Has `openssl` judge a chain: the first certificate of `leaf`, by `root` and `untrusted` alone.
pub(crate) fn verify_with_openssl(root: &str, untrusted: &str, leaf: &str) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (root, leaf) = (write("root.pem", root), write("leaf.pem", leaf));
    let untrusted_path = write("untrusted.pem", untrusted);
    let mut arguments = vec!["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", &root];
    arguments.extend_from_slice(&["-no-CApath", "-no-CAstore"]);
    if !untrusted.is_empty() {
        arguments.extend_from_slice(&["-untrusted", &untrusted_path]);
    }
    arguments.push(&leaf);
    openssl(&arguments);
}
