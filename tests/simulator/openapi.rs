//! Checks bodies against the OpenAPI document: the schema is found by path and status in the document itself.

use serde_json::Value;

/// Keywords that say nothing about validity.
const ANNOTATIONS: [&str; 4] = ["description", "examples", "format", "default"];

/// The only pattern in bodies that are checked.
const TIME_OF_DAY: &str = "^[0-2][0-9]:[0-5][0-9](:[0-5][0-9])?$";

/// The document.
pub(crate) struct OpenApi(Value);

impl OpenApi {
    pub(crate) fn load() -> Self {
        Self(serde_yaml::from_str(include_str!("../fixtures/verkada-openapi.yaml")).unwrap())
    }

    /// What is wrong with an answer; nothing is an empty list.
    pub(crate) fn faults_of_answer(
        &self,
        method: &str,
        path: &str,
        status: u16,
        body: &Value,
    ) -> Vec<String> {
        let Some(responses) = self.responses(method, path) else {
            // Paths outside the document answer like the vendor: 403 and the envelope.
            return match status {
                403 => self.faults_of("/components/schemas/Error", body),
                _ => vec![format!("{method} {path} is not in the document and answered {status}")],
            };
        };
        let exact = responses.get(status.to_string());
        let class = responses.get(format!("{}XX", status / 100));
        let Some(response) = exact.or(class).or_else(|| responses.get("default")) else {
            return vec![format!("status {status} is not documented for {method} {path}")];
        };
        let schema = self.resolved(response).pointer("/content/application~1json/schema").unwrap();
        self.faults(schema, body, "body")
    }

    /// What is wrong with a value, seen against the schema at a JSON pointer.
    pub(crate) fn faults_of(&self, pointer: &str, value: &Value) -> Vec<String> {
        self.faults(self.0.pointer(pointer).unwrap(), value, "value")
    }

    fn responses(&self, method: &str, path: &str) -> Option<&Value> {
        let fits = |template: &str| {
            let (known, given) = (template.split('/'), path.split('/'));
            known.clone().count() == given.clone().count()
                && known.zip(given).all(|(known, given)| known.starts_with('{') || known == given)
        };
        let mut paths = self.0.get("paths")?.as_object()?.iter();
        paths.find(|(template, _)| fits(template))?.1.get(method.to_lowercase())?.get("responses")
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.0.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
            None => value,
        }
    }

    fn faults(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let Value::Object(keywords) = schema else {
            assert_eq!(schema, &Value::Bool(true), "a schema at {at}");
            return Vec::new();
        };
        keywords.iter().flat_map(|(keyword, rule)| self.faults_by(keyword, rule, value, at)).collect()
    }

    fn faults_by(&self, keyword: &str, rule: &Value, value: &Value, at: &str) -> Vec<String> {
        let told = |right: bool| {
            if right { Vec::new() } else { vec![format!("{at}: {value} breaks {keyword} {rule}")] }
        };
        let branches = || rule.as_array().unwrap().iter().map(|branch| self.faults(branch, value, at));
        match keyword {
            "$ref" => self.faults(
                self.0.pointer(rule.as_str().unwrap().strip_prefix('#').unwrap()).unwrap(),
                value,
                at,
            ),
            "type" => {
                let types = rule.as_array().map_or_else(|| std::slice::from_ref(rule), Vec::as_slice);
                told(types.iter().any(|one| is_of_type(value, one.as_str().unwrap())))
            }
            "enum" => told(rule.as_array().unwrap().contains(value)),
            "minimum" => told(value.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap())),
            "maximum" => told(value.as_i64().is_none_or(|number| number <= rule.as_i64().unwrap())),
            "minLength" => {
                let least = usize::try_from(rule.as_u64().unwrap()).unwrap();
                told(value.as_str().is_none_or(|text| text.chars().count() >= least))
            }
            "required" => told(value.as_object().is_none_or(|members| {
                rule.as_array().unwrap().iter().all(|name| members.contains_key(name.as_str().unwrap()))
            })),
            "properties" => rule
                .as_object()
                .unwrap()
                .iter()
                .filter_map(|(name, schema)| value.get(name).map(|member| (name, schema, member)))
                .flat_map(|(name, schema, member)| self.faults(schema, member, &format!("{at}.{name}")))
                .collect(),
            "items" => (value.as_array().into_iter().flatten().enumerate())
                .flat_map(|(index, item)| self.faults(rule, item, &format!("{at}[{index}]")))
                .collect(),
            "anyOf" => told(branches().any(|faults| faults.is_empty())),
            "oneOf" => told(branches().filter(Vec::is_empty).count() == 1),
            "pattern" => {
                assert_eq!(rule, TIME_OF_DAY, "this pattern at {at} is not known");
                told(value.as_str().is_none_or(is_time_of_day))
            }
            annotation if ANNOTATIONS.contains(&annotation) || annotation.starts_with("x-") => Vec::new(),
            unknown => panic!("the schema at {at} uses {unknown}, which this validator does not know"),
        }
    }
}

fn is_time_of_day(text: &str) -> bool {
    let in_range = |part: &str, tens: u8| matches!(part.as_bytes(), [first, second] if (b'0'..=tens).contains(first) && second.is_ascii_digit());
    let parts: Vec<&str> = text.split(':').collect();
    let tens = [b'2', b'5', b'5'];
    (2..=3).contains(&parts.len()) && parts.iter().zip(tens).all(|(part, tens)| in_range(part, tens))
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type is called {other}"),
    }
}

mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn wrong_bodies_are_rejected() {
        let api = OpenApi::load();
        let door =
            |door: Value| api.faults_of_answer("GET", "/access/v1/doors", 200, &json!({ "doors": [door] }));
        assert_eq!(door(json!({ "door_id": "a", "site": null, "new": 1 })), Vec::<String>::new());
        assert_eq!(door(json!({ "name": "n" })).len(), 1, "a required member is missing");
        assert_eq!(door(json!({ "door_id": 1 })).len(), 1, "a wrong type");
        assert_eq!(door(json!({ "door_id": null })).len(), 1, "null is a type");
        assert_eq!(door(json!({ "door_id": "a", "site": { "name": 5 } })).len(), 1, "inside anyOf");
        assert_eq!(door(json!({ "door_id": "a", "api_control_enabled": "yes" })).len(), 1);
        assert_eq!(api.faults_of_answer("GET", "/access/v1/doors", 200, &json!({})).len(), 1);
        assert_eq!(
            api.faults_of_answer("POST", "/token", 200, &json!({ "token": "" })).len(),
            1,
            "an empty token"
        );
        let unlock = |body: Value| api.faults_of("/components/schemas/UserUnlockRequest", &body).len();
        assert_eq!(unlock(json!({ "door_id": "d", "user_id": "u" })), 0);
        assert_eq!(unlock(json!({ "door_id": "d", "user_id": "u", "external_id": "e" })), 1, "one of two");
        let month = |number: i64| {
            let pointer = "/components/schemas/RecurrenceRule/properties/by_month";
            api.faults_of(pointer, &json!(number)).len()
        };
        assert_eq!([month(0), month(1), month(12), month(13)], [1, 0, 0, 1], "outside of a range");
        let time = |text: &str| {
            let pointer = "/components/schemas/DoorExceptionWrite/properties/start_time";
            api.faults_of(pointer, &json!(text)).len()
        };
        assert_eq!(["07:30", "23:59:59"].map(time), [0, 0]);
        assert_eq!(
            ["7:30", "07:60", "07", "30:00", "07:30:00:00", "07:3x"].map(time),
            [1; 6],
            "no time of day"
        );
        let frequency = json!({ "frequency": "HOURLY" });
        let rule =
            api.faults_of("/components/schemas/RecurrenceRule/properties/frequency", &frequency["frequency"]);
        assert_eq!(rule.len(), 1, "a word outside the enum");
    }

    #[test]
    fn answers_outside_the_document_are_rejected() {
        let api = OpenApi::load();
        let envelope = json!({ "id": "a", "message": "m", "data": null });
        let path = "/access/v1/scenarios/x/activate";
        assert_eq!(api.faults_of_answer("POST", path, 404, &envelope), Vec::<String>::new());
        assert_eq!(api.faults_of_answer("POST", path, 409, &envelope).len(), 1, "an undocumented status");
        assert_eq!(
            api.faults_of_answer("POST", path, 503, &json!({ "id": 5 })).len(),
            1,
            "a class of statuses"
        );
        assert_eq!(api.faults_of_answer("GET", "/nowhere", 403, &envelope), Vec::<String>::new());
        assert_eq!(api.faults_of_answer("GET", "/nowhere", 404, &envelope).len(), 1);
    }
}
