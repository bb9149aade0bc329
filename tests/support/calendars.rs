//! The vendor's exception calendars, as far as the core sees them: what is written is there at once.

use std::{fmt::Debug, str::FromStr};

use verkada2mqtt::model::{
    Answer, Calendar, CalendarContent, CalendarId, Exception, ExceptionMode, Fault, Hours, Request, Trace,
};

/// All calendars of the organisation.
#[derive(Debug, Default, Clone)]
pub(crate) struct Shelf {
    pub(crate) calendars: Vec<Calendar>,
    given: u32,
}

impl Shelf {
    /// Does what a write asks for.
    #[expect(clippy::wildcard_enum_match_arm, reason = "only writes are carried out here")]
    pub(crate) fn carry_out(&mut self, request: &Request) -> Result<Answer, Fault> {
        let missing = || Fault::NotFound(Trace::new("there is no such thing"));
        match request {
            Request::CreateCalendar(content) => {
                let id: CalendarId = self.id("cal");
                let calendar = self.calendar(id, content);
                self.calendars.push(calendar.clone());
                Ok(Answer::Calendar(calendar))
            }
            Request::WriteCalendar { calendar: id, content } => {
                let at = self.calendars.iter().position(|calendar| calendar.id == *id).ok_or_else(missing)?;
                let calendar = self.calendar(id.clone(), content);
                self.calendars[at] = calendar.clone();
                Ok(Answer::Calendar(calendar))
            }
            Request::CreateException { calendar, exception } => {
                let id = self.id("ex");
                let found = self.find(calendar)?;
                let exception = Exception { id: Some(id), ..exception.clone() };
                found.exceptions.push(exception.clone());
                Ok(Answer::Exception(exception))
            }
            Request::WriteException { calendar, id, exception } => {
                let found = self.find(calendar)?;
                let old = found.exceptions.iter_mut().find(|known| known.id.as_ref() == Some(id));
                let old = old.ok_or_else(missing)?;
                *old = Exception { id: Some(id.clone()), ..exception.clone() };
                Ok(Answer::Exception(old.clone()))
            }
            Request::DeleteException { calendar, exception } => {
                let found =
                    self.calendars.iter_mut().find(|known| known.id == *calendar).ok_or_else(missing)?;
                let before = found.exceptions.len();
                found.exceptions.retain(|known| known.id.as_ref() != Some(exception));
                if found.exceptions.len() == before { Err(missing()) } else { Ok(Answer::Taken) }
            }
            other => panic!("no write of a calendar: {other:?}"),
        }
    }

    fn find(&mut self, id: &CalendarId) -> Result<&mut Calendar, Fault> {
        let missing = || Fault::NotFound(Trace::new("there is no such thing"));
        self.calendars.iter_mut().find(|known| known.id == *id).ok_or_else(missing)
    }

    fn calendar(&mut self, id: CalendarId, content: &CalendarContent) -> Calendar {
        let exceptions = content.exceptions.iter().map(|exception| Exception {
            id: exception.id.clone().or_else(|| Some(self.id("ex"))),
            ..exception.clone()
        });
        Calendar {
            id,
            name: Some(content.name.clone()),
            doors: content.doors.clone(),
            exceptions: exceptions.collect(),
            updated_at: None,
            skipped: Vec::new(),
        }
    }

    fn id<T: FromStr<Err: Debug>>(&mut self, kind: &str) -> T {
        self.given += 1;
        format!("{kind}-{}", self.given).parse().unwrap()
    }
}

/// One line for one write.
#[expect(clippy::wildcard_enum_match_arm, reason = "only writes are told here")]
pub(crate) fn write_line(request: &Request) -> String {
    match request {
        Request::CreateCalendar(content) => {
            format!("create [{}]: {}", content.name, told(&content.exceptions))
        }
        Request::WriteCalendar { calendar, content } => {
            format!("write {calendar}: {}", told(&content.exceptions))
        }
        Request::CreateException { calendar, exception } => {
            format!("add {calendar}: {}", told(std::slice::from_ref(exception)))
        }
        Request::WriteException { calendar, id, exception } => {
            format!("change {calendar} {id}: {}", told(std::slice::from_ref(exception)))
        }
        Request::DeleteException { calendar, exception } => format!("delete {calendar} {exception}"),
        other => panic!("no write of a calendar: {other:?}"),
    }
}

/// Exceptions in words.
pub(crate) fn told(exceptions: &[Exception]) -> String {
    let one = |exception: &Exception| {
        let mode = match &exception.mode {
            ExceptionMode::Known(mode) => mode.word(),
            ExceptionMode::Unknown(_) => "?",
        };
        let hours = match exception.hours {
            Hours::AllDay => "all day".to_owned(),
            Hours::Between(from, to) => format!("{}-{}", from.strftime("%H:%M"), to.strftime("%H:%M")),
        };
        format!("{mode} {} {hours}", exception.date)
    };
    exceptions.iter().map(one).collect::<Vec<_>>().join(", ")
}
