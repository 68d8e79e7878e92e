//! The program: see the library, whose front page explains the architecture.

fn main() -> std::process::ExitCode {
    bootstrap::cli::main()
}
