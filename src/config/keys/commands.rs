//! `commands`: what may be commanded, and the code that opening commands need.

use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    time::Duration,
};

use secrecy::{ExposeSecret, SecretSlice};
use serde_json::json;

use crate::config::{
    reader::{Faulty, Found, Problem, Rule, Section, Show, Spot},
    secret::{self, SecretKeys},
    settings::{Code, CodedAct, Commands, Doors, DuringLockdown, UnlockAs},
};
use crate::model::User;

const PIN: SecretKeys = SecretKeys {
    name: "code",
    file: "code_file",
    credential: Some("command-code"),
    about: "The code that opening commands need: 4 to 32 printable characters.",
};

const TOTP: SecretKeys = SecretKeys {
    name: "totp_secret",
    file: "totp_secret_file",
    credential: Some("command-totp-secret"),
    about: "In place of a fixed code the secret of one-time codes (RFC 6238: SHA-1, 6 digits, 30 s), in base32.",
};

const ACTS: [(&str, CodedAct); 3] =
    [("unlock", CodedAct::Unlock), ("release", CodedAct::Release), ("hold", CodedAct::Hold)];

pub(super) fn commands(section: &mut Section<'_, '_>) -> Result<Commands, Faulty> {
    let read_only = section
        .key("read_only", "Whether no command at all is taken, whatever else is set here.")
        .boolean(false);
    let unlock =
        section.key("unlock", "Whether doors may be unlocked; a door's own setting wins.").boolean(true);
    let activate = section.key("activate", "Whether scenarios may be started.").boolean(true);
    let release = section.key("release", "Whether scenarios may be ended.").boolean(true);
    let hold = section
        .key(
            "hold",
            "Whether doors may be held unlocked, locked or at a credential; a door's own setting wins.",
        )
        .boolean(false);
    let max_age = section
        .key("max_age", "Commands older than this are refused.")
        .duration(Duration::from_secs(10), Duration::from_secs(1)..=Duration::from_mins(1));
    let during_lockdown = during_lockdown(section);
    let pin = secret::read(section, &PIN, check_pin);
    let totp = secret::read(section, &TOTP, |text| decoded(text).map(drop));
    let code_for: BTreeSet<CodedAct> = section
        .key("code_for", "Which commands need the code, where there is one; an activate never does.")
        .choices(&ACTS);
    let unlock_as = unlock_as(section);
    let users = users(section);
    let restart = section.key("restart", "Whether the gateway may be restarted by a message.").boolean(false);
    let code = match (pin?, totp?) {
        (Some(_), Some(totp)) => {
            let problem = Problem::with_cure(
                "a code and a secret of one-time codes are both given",
                "remove one of the two",
            );
            return Err(section.refuse(&totp.spot, TOTP.name, problem));
        }
        (Some(Found { value, .. }), None) => Some(Code::Pin(value)),
        (None, Some(totp)) => match decoded(totp.value.expose_secret()) {
            Ok(bytes) => Some(Code::Totp(bytes)),
            Err(problem) => return Err(section.refuse(&totp.spot, TOTP.name, problem)),
        },
        (None, None) => None,
    };
    if code.is_none() && during_lockdown == DuringLockdown::Code {
        let problem = Problem::with_cure(
            "during_lockdown asks for a code, and there is none",
            "set code_file or totp_secret_file, or another during_lockdown",
        );
        return Err(section.refuse_whole(problem));
    }
    Ok(Commands {
        read_only,
        unlock,
        activate,
        release,
        hold,
        max_age,
        during_lockdown,
        code,
        code_for,
        unlock_as,
        users: users?,
        restart,
    })
}

/// Which acts need a code, without a look at it: none where the file tells of no code. systemd may hand one over to the
/// gateway all the same.
pub(super) fn coded(section: &mut Section<'_, '_>) -> BTreeSet<CodedAct> {
    let keys = [PIN, TOTP].map(|secret| (secret.name, secret.file));
    let rule = secret::path_rule();
    let given = keys.map(|(inline, file)| {
        let found = section.alternatives([(inline, "", &rule), (file, "", &rule)]);
        found.iter().any(Option::is_some)
    });
    let code_for = section.key("code_for", "").choices(&ACTS);
    if given.contains(&true) { code_for } else { BTreeSet::new() }
}

fn during_lockdown(section: &mut Section<'_, '_>) -> DuringLockdown {
    let words = [
        ("refuse", DuringLockdown::Refuse),
        ("code", DuringLockdown::Code),
        ("allow", DuringLockdown::Allow),
    ];
    section
        .key(
            "during_lockdown",
            "What becomes of the unlock of a door that an active scenario locks. refuse: it is refused. code: it needs \
             the code. allow: it is judged like any other.",
        )
        .choice(&words, DuringLockdown::Refuse)
}

fn unlock_as(section: &mut Section<'_, '_>) -> UnlockAs {
    let words = [("off", UnlockAs::Off), ("allowed", UnlockAs::Allowed), ("required", UnlockAs::Required)];
    section
        .key(
            "unlock_as",
            "Whether a command may name the person in whose name a door is unlocked, as its member as. off: it may not. \
             allowed: it may. required: it may, and an unlock in nobody's name is refused.",
        )
        .choice(&words, UnlockAs::Off)
}

/// The `by` of a command.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sender(String);

impl FromStr for Sender {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=128).contains(&text.chars().count()) && !text.contains(char::is_control);
        fits.then(|| Self(text.to_owned())).ok_or("no command has such a by: it has 1 to 128 characters")
    }
}

fn users(section: &mut Section<'_, '_>) -> Result<BTreeMap<String, User>, Faulty> {
    let users: BTreeMap<Sender, Result<User, Faulty>> = section.sections(
        "users",
        "In whose name a door is unlocked for the sender of a command, by what it says of by, whatever unlock_as is; only in the \
         file.",
        user,
    );
    users.into_iter().map(|(Sender(by), user)| Ok((by, user?))).collect()
}

/// One person, by exactly one of two ids.
fn user(section: &mut Section<'_, '_>) -> Result<User, Faulty> {
    let rule = |pattern: &str, allowed: &str| Rule {
        show: Show::Never,
        ..Rule::of(allowed, json!({"type": "string", "pattern": pattern}))
    };
    let no_id = || Problem::new("is no such id");
    let id_rule = rule("^[A-Za-z0-9-]{1,64}$", "1 to 64 letters, digits and hyphens, as Verkada gives them");
    let by_id = section
        .key("user_id", "Verkada's id of the person.")
        .parsed(&id_rule, |text| User::of_id(text).ok_or_else(no_id));
    let external_rule = rule("^.{1,128}$", "1 to 128 characters");
    let by_external_id = section
        .key("external_id", "The id that another system gave the person, in place of user_id.")
        .parsed(&external_rule, |text| User::of_external_id(text).ok_or_else(no_id));
    match (by_id?, by_external_id?) {
        (Some(found), None) | (None, Some(found)) => Ok(found.value),
        (Some(_), Some(found)) => {
            let problem =
                Problem::with_cure("user_id and external_id are both given", "remove one of the two");
            Err(section.refuse(&found.spot, "external_id", problem))
        }
        (None, None) => {
            let problem =
                Problem::new("names nobody").allowed("user_id or external_id, exactly one of the two");
            Err(section.refuse_whole(problem))
        }
    }
}

/// Refuses what can only be seen with both parts read.
pub(super) fn refuse_missing_code(root: &mut Section<'_, '_>, commands: &Commands, doors: &Doors) {
    if commands.code.is_none() {
        for (id, _) in doors.settings.iter().filter(|(_, door)| door.code == Some(true)) {
            let problem = Problem::with_cure(
                "the door asks for a code, and there is none",
                "set commands.code_file or commands.totp_secret_file, or remove it",
            );
            root.refuse(&Spot::File, &format!("doors.settings.{id}.code"), problem);
        }
    } else if commands.code_for.is_empty()
        && commands.during_lockdown != DuringLockdown::Code
        && !doors.settings.values().any(|door| door.code == Some(true))
    {
        let problem = Problem::with_cure(
            "a code is given, and nothing needs it",
            "name unlock, release or hold in code_for, or remove the code",
        );
        root.refuse(&Spot::File, "commands.code_for", problem);
    }
}

fn check_pin(text: &str) -> Result<(), Problem> {
    let count = text.chars().count();
    if !(4..=32).contains(&count) || text.chars().any(char::is_control) || text.trim() != text {
        return Err(Problem::with_cure(
            "a code has 4 to 32 printable characters and no blank at either end",
            "choose another code",
        ));
    }
    Ok(())
}

/// The bytes of a secret in base32 (RFC 4648); blanks, small letters and padding do not matter.
fn decoded(text: &str) -> Result<SecretSlice<u8>, Problem> {
    let wrong = || {
        Problem::with_cure(
            "not a base32 secret of 16 to 208 letters and digits",
            "copy the secret as the authenticator shows it: letters A to Z and digits 2 to 7",
        )
    };
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0_u32);
    let mut digits = 0;
    for c in text.trim_end_matches('=').chars().filter(|c| !matches!(c, ' ' | '-')) {
        let value = match c.to_ascii_uppercase() {
            letter @ 'A'..='Z' => u32::from(letter) - u32::from('A'),
            digit @ '2'..='7' => u32::from(digit) - u32::from('2') + 26,
            _ => return Err(wrong()),
        };
        digits += 1;
        bits = (bits << 5) | value;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).unwrap_or(0));
            bits &= (1 << count) - 1;
        }
    }
    if !(16..=208).contains(&digits) {
        return Err(wrong());
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_read_as_authenticators_show_it() {
        let bytes = |text: &str| decoded(text).map(|bytes| bytes.expose_secret().to_vec()).ok();
        let known = Some(b"12345678901234567890".to_vec());
        assert_eq!(bytes("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"), known);
        assert_eq!(bytes("gezd gnbv gy3t qojq gezd gnbv gy3t qojq"), known);
        assert_eq!(bytes("GEZDGNBVGY3TQOJQGE======"), Some(b"12345678901".to_vec()));
        for wrong in ["", "GEZDGNBVGY3TQOJ", "GEZDGNBVGY3TQOJ1", &"A".repeat(209)] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
