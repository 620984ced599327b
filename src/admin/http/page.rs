//! The page at `/`: the live view for a browser, all in one file, which asks for `/stats.json` once a second.

/// The page.
pub(super) const HTML: &str = include_str!("page.html");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_from_elsewhere() {
        for outside in ["http:", "https:", "//cdn", "src=", "@import", "url(", "innerHTML"] {
            assert!(!HTML.contains(outside), "{outside}");
        }
        assert!(HTML.contains("fetch(\"/stats.json\")"));
    }
}
