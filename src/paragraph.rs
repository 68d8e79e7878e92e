//! Prose for a terminal of 80 columns.

use std::fmt::Write as _;

/// Columns of a terminal, and of SSM's console.
pub const WIDTH: usize = 80;

/// Appends `label` and `words`, in lines of at most [`WIDTH`] columns, indented to where the words begin in the first;
/// a longer word is not broken, so that it can be copied.
pub fn paragraph(text: &mut String, label: &str, words: &str) {
    let indent = label.chars().count();
    text.push_str(label);
    let mut column = indent;
    for word in words.split(' ') {
        let length = word.chars().count();
        if column > indent && column + 1 + length > WIDTH {
            let _ = write!(text, "\n{:indent$}", "");
            column = indent;
        } else if column > indent {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}
