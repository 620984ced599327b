//! `chap` and `mutual_chap`: who proves what, with which secret.

use std::ops::Range;

use secrecy::{ExposeSecret, SecretString};
use toml::Spanned;

use super::file::{FileChap, FileDiscovery, Value};
use super::resolve::Resolver;
use super::{params, words};
use crate::admin::secret;
use crate::target::{Auth, Credential, Discovery};

/// A name longer than a text value may be could not be sent (RFC 7143 section 6.1).
const USER_MAX: usize = 255;

/// What is said of half a credential.
pub const UNFINISHED: &str = "nobody can log in by this credential";

/// What is said where credentials are demanded, and somebody has none.
pub const NO_CHAP: &str = "credentials are demanded here, and none are set";

/// `[discovery]`.
pub(super) fn discovery(file: FileDiscovery, cx: &mut Resolver<'_>) -> Discovery {
    let default = Discovery::default();
    let mut auth = resolve(file.chap, file.mutual_chap, cx);
    require(&mut auth, &file.require_chap, Some("discovery"), cx);
    Discovery {
        auth,
        chap_algorithms: params::algorithms(&file.chap_algorithms, cx).unwrap_or(default.chap_algorithms),
        own_portal_only: file.show.is_some_and(|show| own_portal_only(&show, cx)),
    }
}

fn own_portal_only(show: &Spanned<String>, cx: &mut Resolver<'_>) -> bool {
    let what = show.get_ref();
    if !["all", "portal"].contains(&what.as_str()) {
        let reason = "all is every portal of what an initiator may log in to, portal only those of the groups that it \
                      has reached";
        let remedy = words::suggestion(what, ["all", "portal"]);
        cx.error(show, format!("discovery cannot show \"{what}\""), reason, remedy);
    }
    what == "portal"
}

/// The credentials of one door. What is wrong with one leaves the others.
pub(super) fn resolve(chap: Vec<FileChap>, mutual: Option<FileChap>, cx: &mut Resolver<'_>) -> Auth {
    let asked = chap.len();
    let mut auth = Auth::default();
    for file in chap {
        let user_span = file.here.or_at(&file.user);
        let Some(credential) = credential(file, cx) else { continue };
        if auth.chap.iter().any(|c| c.user == credential.user) {
            let what = format!("the user \"{}\" has two secrets here", credential.user);
            cx.error(user_span, what, "only one of them could be right", "keep one");
        }
        auth.chap.push(credential);
    }
    if let Some(file) = mutual {
        auth.mutual = resolve_mutual(file, asked, &auth.chap, cx);
    }
    auth
}

/// `require_chap`. Where there is no credential, nobody is let in: an empty one proves nobody, as half of one. `whose`
/// door it is, if somebody comes to it without credentials of his own.
pub(super) fn require(auth: &mut Auth, required: &Value<bool>, whose: Option<&str>, cx: &mut Resolver<'_>) {
    let Some(required) = required.as_ref().filter(|value| *value.get_ref() && !auth.required()) else {
        return;
    };
    if let Some(whose) = whose {
        let what = format!("{NO_CHAP}: {whose}");
        let reason = "who has no credentials of his own is not let in";
        cx.warning(required, what, reason, "give it a user name and a secret");
    }
    auth.chap.push(Credential { user: String::new(), secret: SecretString::default() });
}

fn resolve_mutual(
    file: FileChap,
    asked: usize,
    chap: &[Credential],
    cx: &mut Resolver<'_>,
) -> Option<Credential> {
    let span = file.here.span.clone();
    if asked == 0 {
        cx.error(
            span.clone(),
            "mutual_chap stands here without chap",
            "a target proves itself only to initiators that prove themselves (RFC 7143 section 12.1.3)",
            "add chap = { user = \"…\", secret = \"…\" } beside it",
        );
    }
    let mutual = credential(file, cx)?;
    if mutual.secret.expose_secret().is_empty() {
        return None; // Half a credential proves nothing, in this direction too.
    }
    check_distinct(chap, &mutual, span, cx);
    Some(mutual)
}

/// RFC 7143 section 9.2.1: the secrets of the two directions must differ, or each answer gives away the other's.
pub(super) fn check_distinct(
    chap: &[Credential],
    mutual: &Credential,
    span: Range<usize>,
    cx: &mut Resolver<'_>,
) {
    if let Some(one_way) = chap.iter().find(|c| secret::same(&c.secret, &mutual.secret)) {
        cx.error(
            span,
            format!("mutual_chap has the same secret as chap of user \"{}\"", one_way.user),
            "whoever answers in one direction could answer in the other (RFC 7143 section 9.2.1)",
            "choose another secret for one of them",
        );
    }
}

fn credential(file: FileChap, cx: &mut Resolver<'_>) -> Option<Credential> {
    if file.unfinished.as_ref().is_some_and(|v| *v.get_ref()) {
        return Some(unfinished(&file, cx));
    }
    let user = user(&file, cx);
    let secret = secret_of(&file, cx);
    Some(Credential { user: user?, secret: secret? })
}

/// Half of a credential: it is demanded, and an empty secret proves nobody, so it lets nobody in.
fn unfinished(file: &FileChap, cx: &mut Resolver<'_>) -> Credential {
    let span = file.here.span.clone();
    if let Some(secret) = &file.secret {
        cx.saw_secret(secret.span());
    }
    let has_secret = file.secret.is_some() || file.secret_file.is_some();
    match (&file.user, has_secret) {
        (Some(_), false) => cx.warning(span, UNFINISHED, "it has no secret yet", "give it one"),
        (None, true) => cx.warning(span, UNFINISHED, "it has no user name yet", "give it one"),
        (Some(_), true) => {
            cx.error(span, "this credential is not unfinished", "nothing is missing", "remove `unfinished`");
        }
        (None, false) => {
            cx.error(span, "this credential is empty", "it is only in the way", "remove it, or write it");
        }
    }
    let named = file.user.is_some().then(|| user(file, cx)).flatten();
    Credential { user: named.unwrap_or_default(), secret: SecretString::default() }
}

fn user(file: &FileChap, cx: &mut Resolver<'_>) -> Option<String> {
    let Some(value) = &file.user else {
        cx.missing(&file.here, "credential", "user", "\"…\"");
        return None;
    };
    let user = value.get_ref();
    if user.is_empty() || user.len() > USER_MAX || user.contains(char::is_control) {
        let what = "this is no CHAP user name";
        cx.error(value, what, "it travels as a text value", "write 1 to 255 bytes of text");
        return None;
    }
    Some(user.clone())
}

fn secret_of(file: &FileChap, cx: &mut Resolver<'_>) -> Option<SecretString> {
    match (&file.secret, &file.secret_file) {
        (Some(value), None) => {
            cx.saw_secret(value.span());
            checked(value.get_ref().0.clone(), value.span(), cx)
        }
        (None, Some(path)) => from_file(path, cx),
        (None, None) => {
            cx.missing(&file.here, "credential", "secret", "\"…\", or secret_file = \"…\"");
            None
        }
        (Some(_), Some(path)) => {
            cx.error(path, "there is a secret as well as a secret_file", "only one can count", "keep one");
            None
        }
    }
}

fn from_file(value: &Spanned<String>, cx: &mut Resolver<'_>) -> Option<SecretString> {
    let path = cx.path(value.get_ref());
    match secret::read_file(&path) {
        Ok(secret) => checked(secret, value.span(), cx),
        Err(error) => {
            cx.error(value, format!("{}: {error}", path.display()), "", error.remedy(&path));
            None
        }
    }
}

fn checked(secret: SecretString, span: Range<usize>, cx: &mut Resolver<'_>) -> Option<SecretString> {
    let length = secret.expose_secret().len();
    if !(1..=secret::MAX).contains(&length) {
        let what = if length == 0 { "the secret is empty" } else { "the secret is longer than 255 bytes" };
        cx.error(span, what, "initiators could not use it", "choose one of 12 to 255 bytes");
        return None;
    }
    if secret::is_short(&secret) {
        cx.warning(span, secret::SHORT_WHAT, secret::SHORT_REASON, secret::SHORT_REMEDY);
    }
    Some(secret)
}
