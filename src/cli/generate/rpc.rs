//! ringtgt-rpc(7), from the words that the control socket has for itself.

use super::troff::{escaped, item, paragraphs};
use crate::admin::rpc::reference::{ABOUT, ERRORS, EXAMPLE, METHODS, PLANS, STATISTICS};

/// The page.
pub(super) fn manual() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut out = format!(".TH ringtgt\\-rpc 7 \"\" \"ringtgt {version}\"\n.SH NAME\n");
    out += "ringtgt\\-rpc \\- the control socket of ringtgt's daemon\n.SH DESCRIPTION\n";
    out += &paragraphs(&ABOUT);
    out += &format!(".PP\n.EX\n{}\n.EE\n", EXAMPLE.map(escaped).join("\n"));
    out += ".SH METHODS\n";
    for method in &METHODS {
        out += &match method.params {
            "" => item(method.name, method.what),
            params => format!(
                ".TP\n.BR {} \" {}\"\n{}\n",
                escaped(method.name),
                escaped(params),
                escaped(method.what)
            ),
        };
    }
    out += ".SH PLANS\n";
    out += &paragraphs(&PLANS);
    out += ".SH STATISTICS\n";
    out += &paragraphs(&STATISTICS);
    out += ".SH ERRORS\n";
    for (code, what, data) in ERRORS {
        let data = if data.is_empty() { String::new() } else { format!("; data is {data}") };
        out += &item(code, &format!("{what}{data}."));
    }
    out + ".SH SEE ALSO\nringtgt(8), ringtgt\\-apply(8), ringtgt.toml(5)\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_in_the_page() {
        let page = manual();
        let methods = page.split_once(".SH METHODS\n").unwrap().1.split_once(".SH PLANS\n").unwrap().0;
        let headings = methods.lines().filter_map(|line| line.strip_prefix(".B")?.split(' ').nth(1));
        assert_eq!(headings.collect::<Vec<_>>(), METHODS.map(|method| method.name));
        assert!(page.contains(".BR config.plan \" toml, name?, dir?\"\n"), "{page}");
        assert!(page.contains("\n.B \\-32700 to \\-32600\n"), "{page}");
    }
}
