//! The nearest right word for a wrong one.

/// Words that people bring from other targets, and ours for them.
const FROM_ELSEWHERE: [(&str, &str); 19] = [
    ("open", "any_initiator"),
    ("generate_node_acls", "any_initiator"),
    ("authentication", "require_chap"),
    ("wwn", "iqn"),
    ("dev", "path"),
    ("device", "path"),
    ("file", "path"),
    ("file_or_dev", "path"),
    ("type", "kind"),
    ("plugin", "kind"),
    ("cd", "cdrom"),
    ("dvd", "cdrom"),
    ("dvdrom", "cdrom"),
    ("userid", "user"),
    ("username", "user"),
    ("password", "secret"),
    ("readonly", "read_only"),
    ("wwid", "naa"),
    ("unit_serial", "serial"),
];

/// The one of `words` that `wrong` most likely was to be, if any is near enough.
pub fn nearest<'a>(wrong: &str, words: impl IntoIterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let wrong = wrong.to_ascii_lowercase().replace('-', "_");
    let mut ours = FROM_ELSEWHERE.iter().filter(|(theirs, _)| *theirs == wrong).map(|(_, ours)| *ours);
    let translated = ours.find_map(|ours| words.clone().into_iter().find(|w| *w == ours));
    translated.or_else(|| most_alike(&wrong, words))
}

fn most_alike<'a>(wrong: &str, words: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let alike = words.into_iter().map(|w| (strsim::jaro_winkler(wrong, &w.to_ascii_lowercase()), w));
    let best = alike.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.8).then_some(best.1)
}

/// `did you mean "size"?` or, when nothing is near, the list of what there is.
pub fn suggestion<'a>(wrong: &str, words: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(word) = nearest(wrong, words.clone()) {
        return format!("did you mean \"{word}\"?");
    }
    match words.into_iter().collect::<Vec<_>>().as_slice() {
        [] => "there is none to choose from".into(),
        [only] => format!("the only one is {only}"),
        [first @ .., last] if first.len() < 30 => format!("choose from {} and {last}", first.join(", ")),
        many => format!("none of the {} that there are is like it", many.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 6] = ["kind", "name", "path", "size", "read_only", "block_size"];

    #[test]
    fn slips_and_foreign_words() {
        assert_eq!(nearest("sizes", KEYS), Some("size"));
        assert_eq!(nearest("blocksize", KEYS), Some("block_size"));
        assert_eq!(nearest("Read-Only", KEYS), Some("read_only"));
        assert_eq!(nearest("dev", KEYS), Some("path"));
        assert_eq!(nearest("zzz", KEYS), None);
    }

    #[test]
    fn without_a_likely_word_all_are_listed() {
        assert_eq!(suggestion("zzz", ["a", "b"]), "choose from a and b");
        assert_eq!(suggestion("zzz", ["a"]), "the only one is a");
    }
}
