//! CHAP: userids and passwords of initiators, groups and discovery.

use zeroize::Zeroizing;

use super::json::{Findings, Node, Object};
use super::text::{Text, quoted};
use crate::admin::secret;

/// A userid and its password.
#[derive(Clone)]
struct Credential {
    user: String,
    secret: Zeroizing<String>,
}

/// What an initiator proves, and what it is shown back.
#[derive(Clone)]
pub(super) struct Door {
    chap: Credential,
    mutual: Option<Credential>,
}

impl Door {
    pub(super) fn write(&self, out: &mut Text) {
        self.chap.write("chap", out);
        if let Some(mutual) = &self.mutual {
            mutual.write("mutual_chap", out);
        }
    }
}

impl Credential {
    fn write(&self, key: &str, out: &mut Text) {
        out.value(key, format!("{{ user = {}, secret = {} }}", quoted(&self.user), quoted(&self.secret)));
    }
}

/// What `fabric_modules` says about discovery.
pub(super) fn discovery<'t>(node: &Node<'t>, out: &mut Text, found: &mut Findings<'t>) {
    let Some(mut module) = node.object(found) else { return };
    let name = module.text("name", found).unwrap_or_default();
    if name != "iscsi" {
        return found.list(node, format!("there is no fabric but iscsi here, and this is {name}"));
    }
    let enabled = module.flag("discovery_enable_auth", found);
    let keys = Keys { prefix: "discovery_", bare: true };
    let door = door(&mut module, &keys, found);
    if enabled.unwrap_or_else(|| door.is_some()) {
        out.section("[discovery]");
        match door {
            Some(door) => door.write(out),
            // LIO tells nobody of targets who cannot prove what is not set.
            None => out.value("require_chap", true),
        }
    } else if door.is_some() {
        found.list(node, "discovery_enable_auth is false, so its credentials do nothing there");
    }
    module.finish(found);
}

/// How the four members are called.
struct Keys {
    prefix: &'static str,
    /// Whether they may also stand there without the prefix.
    bare: bool,
}

impl Keys {
    fn take<'t>(&self, key: &str, object: &mut Object<'t>) -> Option<Node<'t>> {
        let node = object.take(&format!("{}{key}", self.prefix));
        let node = node.or_else(|| if self.bare { object.take(key) } else { None });
        // What configfs shows when nothing is set.
        node.filter(|node| !matches!(node.word().as_str(), "" | "NULL"))
    }
}

/// The credentials of a group or an initiator.
pub(super) fn chap<'t>(object: &mut Object<'t>, found: &mut Findings<'t>) -> Option<Door> {
    door(object, &Keys { prefix: "chap_", bare: true }, found)
}

fn door<'t>(object: &mut Object<'t>, keys: &Keys, found: &mut Findings<'t>) -> Option<Door> {
    let chap = credential(object, keys, "userid", "password", found);
    let mutual = credential(object, keys, "mutual_userid", "mutual_password", found);
    let at = &object.node;
    match (chap, mutual) {
        (Some(chap), Some(mutual)) if chap.secret == mutual.secret => {
            found.list(at, "mutual_password is the same as password, which RFC 7143 section 9.2.1 forbids: it is left out");
            Some(Door { chap, mutual: None })
        }
        (Some(chap), mutual) => Some(Door { chap, mutual }),
        (None, Some(_)) => {
            found.list(at, "mutual_userid without userid does nothing: it is left out");
            None
        }
        (None, None) => None,
    }
}

fn credential<'t>(
    object: &mut Object<'t>,
    keys: &Keys,
    userid: &str,
    password: &str,
    found: &mut Findings<'t>,
) -> Option<Credential> {
    let (user, secret) = (keys.take(userid, object), keys.take(password, object));
    let (user, secret) = match (user, secret) {
        (Some(user), Some(secret)) => (user, secret),
        (None, None) => return None,
        (Some(one), None) | (None, Some(one)) => {
            found.list(&one, "a userid and a password do nothing without each other: it is left out");
            return None;
        }
    };
    let credential = Credential { user: user.text(found)?, secret: Zeroizing::new(secret.text(found)?) };
    let usable = |text: &str| (1..=secret::MAX).contains(&text.len());
    if !usable(&credential.secret) || !usable(&credential.user) || credential.user.contains(char::is_control)
    {
        found
            .list(&user, "CHAP cannot send it, for it is too long or has control characters: it is left out");
        return None;
    }
    Some(credential)
}
