//! Just enough XML to read AWS's answers: elements and text. No attributes, no DTD; not for anything else.

/// Deeper answers are not AWS's; the bound keeps a hostile one from exhausting the stack.
const DEEPEST: usize = 32;

/// One element.
#[derive(Debug, Default)]
pub struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// The first child of that name.
    pub(super) fn child(&self, name: &str) -> Option<&Element> {
        self.children(name).next()
    }

    /// The children of that name.
    pub(super) fn children(&self, name: &str) -> impl Iterator<Item = &Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the first child of that name; `None` if absent or empty.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        let text = self.child(name)?.text.trim();
        (!text.is_empty()).then_some(text)
    }

    /// This element or the first one below it of that name, however deep.
    pub(super) fn find(&self, name: &str) -> Option<&Element> {
        if self.name == name {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(name))
    }
}

/// The root element; `None` if the text is not well-formed.
pub fn parse(mut xml: &str) -> Option<Element> {
    let mut open: Vec<Element> = vec![Element::default()];
    while let Some((text, rest)) = xml.split_once('<') {
        open.last_mut()?.text.push_str(&unescape(text));
        if let Some(comment) = rest.strip_prefix("!--") {
            xml = comment.split_once("-->")?.1;
            continue;
        }
        if let Some(data) = rest.strip_prefix("![CDATA[") {
            let (data, after) = data.split_once("]]>")?;
            open.last_mut()?.text.push_str(data);
            xml = after;
            continue;
        }
        let (tag, after) = split_tag(rest)?;
        xml = after;
        if tag.starts_with(['?', '!']) {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            let element = open.pop()?;
            if element.name != name.trim_end() {
                return None;
            }
            open.last_mut()?.children.push(element);
            continue;
        }
        let (tag, is_empty) = match tag.strip_suffix('/') {
            Some(tag) => (tag, true),
            None => (tag, false),
        };
        let element = Element {
            name: tag.split_whitespace().next()?.into(),
            ..Element::default()
        };
        if is_empty {
            open.last_mut()?.children.push(element);
        } else {
            open.push(element);
        }
        if open.len() > DEEPEST {
            return None;
        }
    }
    match open.as_mut_slice() {
        [document] if document.children.len() == 1 => document.children.pop(),
        _ => None,
    }
}

/// Splits at the tag's closing `>`; a quoted attribute may contain others.
fn split_tag(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (None, '>') => return Some((text.get(..at)?, text.get(at + 1..)?)),
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    None
}

/// The five named entities and numeric ones; anything else is left as it stands.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let entity = after
            .split_once(';')
            .and_then(|(name, after)| Some((character(name)?, after)));
        if let Some((character, after)) = entity {
            out.push(character);
            rest = after;
        } else {
            out.push('&');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

fn character(entity: &str) -> Option<char> {
    match entity {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = entity.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_answer() {
        let root = parse(
            "<?xml version=\"1.0\"?><!-- > --><R xmlns='a>b'>\n <a/><b> 1 &lt; 2 &#x26;&#38; &unknown; &</b>\
             <set><item><s>in</s></item><item><s><![CDATA[<out>]]></s></item></set></R>\n",
        )
        .unwrap();
        assert_eq!(root.text_of("a"), None);
        assert_eq!(root.text_of("b"), Some("1 < 2 && &unknown; &"));
        let states: Vec<_> = root
            .child("set")
            .unwrap()
            .children("item")
            .map(|item| item.text_of("s").unwrap())
            .collect();
        assert_eq!(states, ["in", "<out>"]);
        assert_eq!(root.find("item").unwrap().text_of("s"), Some("in"));
    }

    #[test]
    fn refuses_what_is_not_well_formed() {
        let deep = "<a>".repeat(100_000) + &"</a>".repeat(100_000);
        for text in [
            "",
            "no",
            "<a>",
            "<a></b>",
            "</a>",
            "<a><b></a></b>",
            "<a/><b/>",
            "<a",
            "<>",
            "< >",
            "<!--",
            "<a b='>",
            deep.as_str(),
        ] {
            assert!(
                parse(text).is_none(),
                "{}",
                text.get(..20.min(text.len())).unwrap()
            );
        }
    }
}
