//! Under which names LIO's disks are known: what its INQUIRY data is made of.
//!
//! Vendor `LIO-ORG `, revision `4.0`; the product is the name of the storage object when `emulate_model_alias` is 1,
//! else that of the plugin. The unit serial number (`wwn` in the file) is page 80h, stands behind the product in the
//! T10 designator, and its hexadecimal digits are the vendor's part of the NAA 6h designator.

/// T10 vendor identification.
pub(super) const VENDOR: &str = "LIO-ORG";
/// Product revision level.
pub(super) const REVISION: &str = "4.0";

/// NAA 6h and the company id 001405h.
const PREFIX: &str = "6001405";

/// The NAA designator: the prefix and as many of the serial's hexadecimal digits as fit, filled up with zeroes.
pub(super) fn naa(serial: &str) -> String {
    let digits = serial.chars().filter(char::is_ascii_hexdigit).map(|c| c.to_ascii_lowercase());
    PREFIX.chars().chain(digits).chain(std::iter::repeat('0')).take(32).collect()
}

/// The product identification of a storage object.
pub(super) fn product(plugin: &str, name: &str, alias: bool) -> String {
    let of_plugin = match plugin {
        "block" => "IBLOCK",
        "fileio" => "FILEIO",
        _ => "RAMDISK-MCP",
    };
    let product: String = if alias { name } else { of_plugin }.chars().take(PRODUCT_MAX).collect();
    product.trim().to_owned()
}

const PRODUCT_MAX: usize = 16;

/// What follows the vendor in the T10 designator.
pub(super) fn t10(product: &str, serial: &str) -> String {
    format!("{product}:{serial}")
}

/// A name that backstores and target port groups can have here.
pub(super) fn safe(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:+@".contains(c);
    let name: String = name.chars().map(|c| if allowed(c) { c } else { '-' }).take(NAME_MAX).collect();
    if matches!(name.as_str(), "" | "." | "..") { format!("lio{name}") } else { name }
}

const NAME_MAX: usize = 64;

/// The first of `name`, `name-2`, `name-3` … that is not taken.
pub(super) fn unused(name: String, taken: impl Fn(&str) -> bool) -> String {
    if !taken(&name) {
        return name;
    }
    let short: String = name.chars().take(NAME_MAX - 8).collect();
    (2u32..).map(|n| format!("{short}-{n}")).find(|name| !taken(name)).unwrap_or(name)
}

/// Whether rtslib-fb takes the name of a target or an initiator: one with a date and two parts of a domain; or an EUI-64
/// or a NAA of as many digits.
pub(super) fn is_taken(name: &str) -> bool {
    let is_iqn = |rest: &str| rest.matches('.').count() >= 2 && !rest.contains('_');
    match name.split_once('.') {
        Some(("iqn", rest)) => is_iqn(rest),
        Some(("naa", rest)) => rest.len() == 16 && rest.starts_with(['1', '2', '5']),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtslib_skips_names_that_are_ones_here() {
        for taken in
            ["iqn.2026-11.org.example:t", "iqn.2026-11.a.b", "naa.5000c50015ea71ac", "eui.02004567a425678d"]
        {
            assert!(is_taken(taken), "{taken}");
        }
        for skipped in ["iqn.2026-11.local:t", "iqn.2026-11.org.example:a_b", "naa.6001405000000000"] {
            assert!(!is_taken(skipped), "{skipped}");
        }
    }

    #[test]
    fn names_are_made_as_lio_makes_them() {
        assert_eq!(naa("b2fd6c1e-9f3c-4b0e-a7e0-6a9d3d7b1c55"), "6001405b2fd6c1e9f3c4b0ea7e06a9d3");
        assert_eq!(naa("lab-Ram0"), "6001405aba0000000000000000000000", "only the hexadecimal digits");
        assert_eq!(naa(""), "60014050000000000000000000000000");
        assert_eq!(product("block", "a-very-long-name-of-a-disk", true), "a-very-long-name");
        assert_eq!(product("block", "disk", false), "IBLOCK");
        assert_eq!(product("ramdisk", "disk", false), "RAMDISK-MCP");
        assert_eq!(t10("disk", "1"), "disk:1");
    }
}
