//! CSV -> [`Wanted`]. All faults of a file in one pass, each with line and column.

use std::collections::BTreeSet;

use conf::Secret;
use dialplan::{Owner, Redacted};
use pstn::{Number, NumberPlan};

use super::{RowError, Wanted, WantedDevice, WantedPerson};

/// The columns, in any order; those a file does not need may be left out.
const COLUMNS: [&str; 12] = [
    "unit", "flags", "person", "name", "role", "numbers", "device", "label", "profile", "password",
    "desk", "door",
];

/// Reads a CSV file with a header line, separated by `,` or `;`, in UTF-8.
///
/// # Errors
/// Everything wrong with its form and values.
pub fn read(text: &[u8]) -> Result<Wanted, Vec<RowError>> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let header_line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let delimiter = if header_line.contains(&b';') {
        b';'
    } else {
        b','
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .trim(csv::Trim::All)
        .flexible(true)
        .comment(Some(b'#'))
        .from_reader(text);
    let mut errors = Vec::new();
    let columns = match reader.headers() {
        Ok(headers) => columns(headers, &mut errors),
        Err(e) => {
            return Err(vec![RowError::new(
                1,
                "",
                format!("the header cannot be read: {e}"),
            )]);
        }
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut wanted = Wanted::default();
    for record in reader.records() {
        match record {
            Ok(record) => {
                let line = record.position().map_or(0, csv::Position::line);
                if record.len() != columns.len() {
                    let message =
                        format!("{} fields, the header has {}", record.len(), columns.len());
                    errors.push(
                        RowError::new(line, "", message)
                            .hint("put text that holds the separator in quotes"),
                    );
                    continue;
                }
                let row = Row {
                    line,
                    columns: &columns,
                    record: &record,
                };
                row.read(&mut wanted, &mut errors);
            }
            Err(e) => {
                let line = e.position().map_or(0, csv::Position::line);
                errors
                    .push(RowError::new(line, "", "not UTF-8 text").hint("save the file as UTF-8"));
            }
        }
    }
    if wanted.units.is_empty()
        && wanted.people.is_empty()
        && wanted.devices.is_empty()
        && errors.is_empty()
    {
        errors
            .push(RowError::new(1, "", "no rows").hint(format!("columns: {}", COLUMNS.join(","))));
    }
    if errors.is_empty() {
        Ok(wanted)
    } else {
        Err(errors)
    }
}

fn columns(headers: &csv::StringRecord, errors: &mut Vec<RowError>) -> Vec<String> {
    let mut columns = Vec::new();
    for header in headers {
        let name = header.to_ascii_lowercase();
        if !COLUMNS.contains(&name.as_str()) {
            errors.push(super::unknown(1, "column", &name, COLUMNS));
        } else if columns.contains(&name) {
            errors.push(RowError::new(1, &name, "the column stands twice"));
        }
        columns.push(name);
    }
    columns
}

struct Row<'a> {
    line: u64,
    columns: &'a [String],
    record: &'a csv::StringRecord,
}

impl Row<'_> {
    fn get(&self, column: &str) -> Option<&str> {
        let at = self.columns.iter().position(|c| c == column)?;
        self.record.get(at).filter(|value| !value.is_empty())
    }

    fn error(&self, column: &str, message: impl Into<String>) -> RowError {
        RowError::new(self.line, column, message)
    }

    fn read(&self, wanted: &mut Wanted, errors: &mut Vec<RowError>) {
        if self.record.iter().all(str::is_empty) {
            return;
        }
        let owners = ["person", "desk", "door"]
            .into_iter()
            .filter(|c| self.get(c).is_some())
            .collect::<Vec<_>>();
        if let [_, second, ..] = owners.as_slice() {
            errors.push(
                self.error(second, "a row is about a person, a desk or a door")
                    .hint("make it two rows"),
            );
            return;
        }
        for (column, needs) in [
            ("flags", "unit"),
            ("name", "person"),
            ("role", "person"),
            ("numbers", "person"),
            ("label", "device"),
            ("profile", "device"),
            ("password", "device"),
        ] {
            if self.get(column).is_some() && self.get(needs).is_none() {
                errors.push(self.error(needs, format!("missing, but {column} is given")));
            }
        }
        self.unit(wanted, errors);
        self.person(wanted, errors);
        self.device(wanted, errors);
    }

    fn unit(&self, wanted: &mut Wanted, errors: &mut Vec<RowError>) {
        let Some(id) = self.get("unit") else { return };
        let unit = wanted.units.entry(id.to_owned()).or_default();
        if unit.line == 0 {
            unit.line = self.line;
        }
        let flags = self.get("flags").map(|f| {
            f.split_whitespace()
                .map(str::to_owned)
                .collect::<BTreeSet<_>>()
        });
        merge(
            &mut unit.flags,
            flags,
            || self.error("flags", format!("differ from line {}", unit.line)),
            errors,
        );
    }

    fn person(&self, wanted: &mut Wanted, errors: &mut Vec<RowError>) {
        let Some(id) = self.get("person") else { return };
        let person = wanted
            .people
            .entry(id.to_owned())
            .or_insert_with(|| WantedPerson {
                line: self.line,
                ..Default::default()
            });
        let first = person.line;
        let differs = |column| move || self.error(column, format!("differs from line {first}"));
        let numbers = self.get("numbers").map(|list| self.numbers(list, errors));
        merge(
            &mut person.name,
            self.get("name").map(Redacted::from),
            differs("name"),
            errors,
        );
        merge(
            &mut person.role,
            self.get("role").map(str::to_owned),
            differs("role"),
            errors,
        );
        merge(
            &mut person.unit,
            self.get("unit").map(str::to_owned),
            differs("unit"),
            errors,
        );
        merge(&mut person.numbers, numbers, differs("numbers"), errors);
    }

    fn numbers(&self, list: &str, errors: &mut Vec<RowError>) -> Vec<Redacted> {
        let plan = NumberPlan {
            country: String::new(),
            international: String::new(),
            trunk_prefix: String::new(),
        };
        let mut numbers = Vec::new();
        for (n, text) in list.split(['|', '/']).map(str::trim).enumerate() {
            let number = match text.starts_with('+') {
                true => Number::parse(text, &plan).map_err(|e| e.to_string()),
                false => Err("a number starts with + and the country code".to_owned()),
            };
            match number {
                Ok(number) => numbers.push(Redacted::new(number.reveal())),
                // The number itself is personal data: the message says which one, not what.
                Err(why) => errors.push(
                    self.error("numbers", format!("number {}: {why}", n + 1))
                        .hint("+420601234567|+420222000111"),
                ),
            }
        }
        numbers
    }

    fn device(&self, wanted: &mut Wanted, errors: &mut Vec<RowError>) {
        let Some(id) = self.get("device") else {
            if self.get("desk").or(self.get("door")).is_some() {
                errors.push(
                    self.error("device", "missing")
                        .hint("the SIP user name of the desk's phone or the door's station"),
                );
            } else if self.get("unit").is_none() && self.get("person").is_none() {
                errors.push(self.error("", "neither unit, person nor device"));
            }
            return;
        };
        let owned = |column: &str, owner: fn(String) -> Owner| {
            self.get(column).map(|id| owner(id.to_owned()))
        };
        let owner = owned("person", Owner::Person)
            .or_else(|| owned("desk", Owner::Desk))
            .or_else(|| owned("door", Owner::Door))
            .or_else(|| owned("unit", Owner::Unit));
        let Some(owner) = owner else {
            errors.push(
                self.error("device", "belongs to nobody")
                    .hint("fill person, unit, desk or door"),
            );
            return;
        };
        if let Some(other) = wanted.devices.get(id) {
            errors.push(self.error(
                "device",
                format!("`{id}` stands already on line {}", other.line),
            ));
            return;
        }
        let device = WantedDevice {
            line: self.line,
            owner,
            label: self.get("label").map(str::to_owned),
            profile: self.get("profile").map(str::to_owned),
            password: self.get("password").map(Secret::new),
        };
        wanted.devices.insert(id.to_owned(), device);
    }
}

/// Several rows may speak of one thing; they must agree.
fn merge<T: PartialEq>(
    known: &mut Option<T>,
    new: Option<T>,
    error: impl FnOnce() -> RowError,
    errors: &mut Vec<RowError>,
) {
    match (known.as_ref(), new) {
        (_, None) => {}
        (None, new) => *known = new,
        (Some(old), Some(new)) if *old != new => errors.push(error()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<String> {
        read(text.as_bytes())
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn rows_of_one_person_join_and_devices_find_their_owner() {
        let wanted = read(
            "unit,person,name,role,numbers,device,label\n\
             101,anna,Anna,resident,+420 601 234 567|+420222000111,anna-1,mobile\n\
             101,anna,,,,anna-2,\n\
             101,,,,,panel-101,panel\n"
                .as_bytes(),
        )
        .unwrap();
        assert_eq!(
            wanted.people["anna"].numbers.as_ref().unwrap()[0].reveal(),
            "+420601234567"
        );
        assert_eq!(wanted.devices["anna-2"].owner, Owner::Person("anna".into()));
        assert_eq!(wanted.devices["panel-101"].owner, Owner::Unit("101".into()));
        assert_eq!(wanted.units.len(), 1);
    }

    #[test]
    fn all_faults_come_in_one_pass_with_line_and_column() {
        let found = errors(
            "unit,person,name,numbers,device,door\n\
             101,anna,Anna,601234567,anna-1,\n\
             ,,Petr,,,\n\
             101,anna,Anne,,anna-1,\n\
             101,petr\n\
             ,,,,,lobby\n\
             ,anna,,,x,lobby\n",
        );
        assert_eq!(
            found,
            [
                "line 2: numbers: number 1: a number starts with + and the country code (+420601234567|+420222000111)",
                "line 3: person: missing, but name is given",
                "line 3: neither unit, person nor device",
                "line 4: name: differs from line 2",
                "line 4: device: `anna-1` stands already on line 2",
                "line 5: 2 fields, the header has 6 (put text that holds the separator in quotes)",
                "line 6: device: missing (the SIP user name of the desk's phone or the door's station)",
                "line 7: door: a row is about a person, a desk or a door (make it two rows)",
            ]
        );
    }

    #[test]
    fn an_unknown_column_gets_the_nearest_name() {
        assert_eq!(
            errors("unit,devise\n1,2\n"),
            ["line 1: column: there is no column `devise` (did you mean `device`?)"]
        );
    }

    #[test]
    fn spreadsheets_write_semicolons_bom_and_crlf() {
        let wanted = read(b"\xef\xbb\xbfunit;device\r\n101;panel-101\r\n").unwrap();
        assert!(wanted.devices.contains_key("panel-101"));
    }

    #[test]
    fn text_that_is_not_utf8_is_an_error_with_its_line() {
        let found = read(b"unit,person,name\n101,anna,Anna\n102,petr,P\xe9tr\n").unwrap_err();
        assert_eq!(
            found[0].to_string(),
            "line 3: not UTF-8 text (save the file as UTF-8)"
        );
    }

    #[test]
    fn an_empty_file_says_which_columns_there_are() {
        assert!(errors("")[0].contains("columns: unit,flags,person"));
    }
}
