//! Views of the journal: text, JSON, SVG; and the live view of a run.
