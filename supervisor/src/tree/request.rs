//! Pure: what can be asked for over the socket: one line of words.
use crate::tree::data::SupervisionTree;
use crate::tree::options::{Look, Text};

/// What is wanted of a dump, and how it is to be written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) look: Look,
    form: Form,
    text: Text,
}

#[derive(Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
    Dot,
}

/// What to say to one who asks for something else.
const KNOWN: &str = "text, ascii, colours, json, dot, width=COLUMNS, subtree=PATH, depth=LEVELS, children=MOST";

impl Request {
    /// Reads a line: nothing, or words in any order.
    pub(crate) fn parse(line: &str) -> Result<Self, String> {
        let mut request = Self { look: Look::new(), form: Form::Text, text: Text::new() };
        // A path may have gaps in it: it goes on to the end.
        let (words, path) = match line.split_once("subtree=") {
            Some((words, path)) => (words, Some(path.trim())),
            None => (line, None),
        };
        for word in words.split_whitespace() {
            let number = |text: &str| text.parse::<usize>().map_err(|_| format!("{word}: not a number"));
            let Self { look, form, text } = request;
            let (look, form, text) = match word.split_once('=') {
                None if word == "text" => (look, Form::Text, text),
                None if word == "ascii" => (look, Form::Text, text.ascii()),
                None if word == "colours" => (look, Form::Text, text.colours()),
                None if word == "json" => (look, Form::Json, text),
                None if word == "dot" => (look, Form::Dot, text),
                Some(("width", n)) => (look, form, text.width(number(n)?.min(1000))),
                Some(("depth", n)) => (look.depth(number(n)?), form, text),
                Some(("children", n)) => (look.children(number(n)?), form, text),
                _ => return Err(format!("{word}: unknown; known are {KNOWN}")),
            };
            request = Self { look, form, text };
        }
        if let Some(path) = path {
            request.look = request.look.subtree(path);
        }
        Ok(request)
    }

    pub(crate) fn write(&self, dump: &SupervisionTree) -> String {
        match self.form {
            Form::Text => dump.text(&self.text),
            Form::Json => dump.json() + "\n",
            Form::Dot => dump.dot(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_of_words_is_a_request() {
        let plain = Request { look: Look::new(), form: Form::Text, text: Text::new() };
        assert_eq!(Request::parse(" \n"), Ok(plain));
        let text = Text::new().width(80).ascii();
        let wanted = Request { look: Look::new().depth(2).children(5).subtree("root/a b"), form: Form::Text, text };
        assert_eq!(Request::parse("ascii width=80 depth=2 children=5 subtree=root/a b\r\n"), Ok(wanted));
        assert_eq!(Request::parse("json").map(|request| request.form), Ok(Form::Json));
        assert_eq!(Request::parse("text dot").map(|request| request.form), Ok(Form::Dot));
        assert_eq!(Request::parse("depth=x"), Err("depth=x: not a number".to_owned()));
        assert!(Request::parse("GET / HTTP/1.1").is_err_and(|error| error.starts_with("GET: unknown; known are text")));
    }

    proptest! {
        #[test]
        fn no_line_panics(line in ".{0,300}") {
            drop(Request::parse(&line));
        }
    }
}
