//! Prose for a terminal of 80 columns.

use std::fmt::Write as _;

/// Columns of a terminal, and of SSM's console.
pub const WIDTH: usize = 80;

/// `words` after `label`, in lines of at most [`WIDTH`] columns that all begin below the first; a word that is longer
/// stays whole, so that it can be copied.
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
