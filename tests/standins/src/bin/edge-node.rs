//! The edge image's program; see `standins::edge_node`.

fn main() -> std::process::ExitCode {
    standins::edge_node::main()
}
