//! This binary as a child of itself: a process that writes an audit log until it is stopped or killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::Duration;

use tenantry::audit::{AuditSettings, AuditSink, wall_clock};
use tenantry::bypass::SentText;

use super::records;

const LOG: &str = "TENANTRY_TEST_AUDIT_LOG";

/// Writes a log, if this process was started by [`Writer::start`].
pub fn run_as_child() -> Option<ExitCode> {
    let file = std::env::var_os(LOG)?;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(write(PathBuf::from(file)));
    Some(ExitCode::SUCCESS)
}

/// Four sessions say on stdout what was acknowledged and what was refused, until stdin is closed.
async fn write(file: PathBuf) {
    let sink = AuditSink::open(AuditSettings {
        file,
        rotate_bytes: 32 * 1024,
        clock: wall_clock,
        retry_after: Duration::from_millis(20),
    })
    .unwrap();
    for session in 0..4 {
        let sink = sink.clone();
        tokio::spawn(async move {
            let mut sent = 0;
            loop {
                sent += 1;
                let text = "x".repeat(sent * 37 % 900);
                let record = records::statement(session, SentText::Text(text));
                let line = match sink.append(&record).await {
                    Ok(anchor) => format!("ok {anchor}\n"),
                    Err(error) => {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        format!("refused {}\n", error.sqlstate())
                    }
                };
                std::io::stdout().write_all(line.as_bytes()).unwrap();
                sink.note(&records::tenant_refused("acme"));
            }
        });
    }
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()).unwrap())
        .await
        .unwrap();
    sink.close().await;
}

/// The child.
pub struct Writer {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Writer {
    /// Starts it; what it writes beyond so many blocks of 1 KiB fails, as on a full disk.
    pub fn start(log: &Path, blocks_max: Option<u32>) -> Self {
        let limit = blocks_max.map_or_else(String::new, |it| format!("ulimit -S -f {it};"));
        let mut child = Command::new("bash")
            .arg("-c")
            // Without the trap, the signal would end the process before the write fails.
            .arg(format!("trap '' XFSZ; {limit} exec \"$0\""))
            .arg(std::env::current_exe().unwrap())
            .env(LOG, log)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line; none after its end. One without its line feed is none.
    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.strip_suffix('\n').map(str::to_owned)
    }

    /// The first line that begins so.
    pub fn wait_for(&mut self, begin: &str) -> String {
        loop {
            let line = self.line().expect("the child goes on");
            if line.starts_with(begin) {
                return line;
            }
        }
    }

    /// SIGKILL; the lines that it still wrote.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::iter::from_fn(|| self.line()).collect()
    }

    /// Stops it in order.
    pub fn stop(mut self) {
        drop(self.child.stdin.take());
        while self.line().is_some() {}
        assert!(self.child.wait().unwrap().success());
    }
}
