//! ringtgt.toml(5), from the sample configuration: its words are the text, its settings the examples.

use super::troff::{escaped, item, row};

const SAMPLE: &str = include_str!("../../../tuning/ringtgt.toml");

/// What a line of the sample is.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Kind {
    Words,
    /// A command, and what it is for.
    Command,
    Header,
    Setting,
    Nothing,
}

fn kind(line: &str) -> (Kind, &str) {
    match line.strip_prefix('#') {
        None | Some("") => (Kind::Nothing, ""),
        Some(command) if row(command).is_some() => (Kind::Command, command),
        Some(words) if words.starts_with(' ') => (Kind::Words, words.trim()),
        Some(header) if header.starts_with('[') => (Kind::Header, header),
        Some(setting) => (Kind::Setting, setting),
    }
}

/// The page.
pub(super) fn manual() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut out = format!(".TH ringtgt.toml 5 \"\" \"ringtgt {version}\"\n.SH NAME\n");
    out.push_str("ringtgt.toml \\- what ringtgt serves, and to whom\n.SH DESCRIPTION\n");
    let mut before = Kind::Nothing;
    for line in SAMPLE.lines() {
        let (kind, text) = kind(line);
        // An example of settings ends where anything else begins.
        if before == Kind::Setting && kind != Kind::Setting {
            out.push_str(".EE\n");
        }
        match kind {
            Kind::Words if before != Kind::Words => out.push_str(&format!(".PP\n{}\n", escaped(text))),
            Kind::Words => out.push_str(&format!("{}\n", escaped(text))),
            Kind::Command => out.extend(row(text).map(|(command, what)| item(command, what))),
            Kind::Header => out.push_str(&format!(".SS \"{}\"\n", escaped(text))),
            Kind::Setting if before != Kind::Setting => {
                out.push_str(&format!(".PP\n.EX\n{}\n", escaped(text)));
            }
            Kind::Setting => out.push_str(&format!("{}\n", escaped(text))),
            Kind::Nothing => {}
        }
        before = kind;
    }
    if before == Kind::Setting {
        out.push_str(".EE\n");
    }
    out + ".SH SEE ALSO\nringtgt(8), ringtgt\\-serve(8), ringtgt\\-check(8), ringtgt\\-rpc(7)\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_of_the_sample_is_in_the_page() {
        let page = manual();
        for line in SAMPLE.lines() {
            let (kind, text) = kind(line);
            let is_there = match row(text).filter(|_| kind == Kind::Command) {
                Some((command, what)) => page.contains(&item(command, what)),
                None => kind == Kind::Nothing || page.contains(&escaped(text)),
            };
            assert!(is_there, "{line}");
        }
        assert_eq!(page.matches(".EX").count(), page.matches(".EE").count());
        assert!(page.contains("\n.TP\n.B systemctl restart ringtgt\nserves it\n"), "{page}");
        assert!(page.contains(".SS \"[[backstore]]\"") && page.contains("\nserial = \\(dqEXAMPLE"), "{page}");
    }
}
