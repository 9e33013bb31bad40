//! `tenantry serve`: the proxy itself.

use std::io;
use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tracing_subscriber::EnvFilter;

use super::{Environment, Outcome, Terminal};
use crate::proxy::{ServeError, serve};
use crate::registry::Registry;

#[derive(Args, Debug)]
pub(super) struct Serve {
    #[command(flatten)]
    environment: Environment,
    /// What is logged, such as `info` or `tenantry=debug`.
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
}

impl Serve {
    pub(super) fn run(&self, terminal: &mut Terminal<'_>) -> io::Result<Outcome> {
        let filter = match EnvFilter::try_new(&self.log) {
            Ok(filter) => filter,
            Err(error) => {
                writeln!(terminal.err, "tenantry: --log: {error}")?;
                return Ok(Outcome::WrongUse);
            }
        };
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .with_ansi(false)
            .init();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        runtime.block_on(self.serve(terminal))
    }

    async fn serve(&self, terminal: &mut Terminal<'_>) -> io::Result<Outcome> {
        let registry = match Registry::open(&self.environment.config).await {
            Ok(registry) => Arc::new(registry),
            Err(rejected) => {
                for fault in &rejected.faults {
                    writeln!(terminal.err, "{fault}")?;
                }
                return Ok(Outcome::Findings);
            }
        };
        let mut hangup = signal(SignalKind::hangup())?;
        let reloaded = Arc::clone(&registry);
        let reloading = tokio::spawn(async move {
            let wanted = Notify::new();
            let listening = async {
                while hangup.recv().await.is_some() {
                    reloaded.end_grants();
                    wanted.notify_one();
                }
            };
            let reloading = async {
                loop {
                    wanted.notified().await;
                    // What went wrong is logged there.
                    reloaded.reload().await.ok();
                }
            };
            tokio::join!(listening, reloading)
        });
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let served = serve(registry, stop).await;
        reloading.abort();
        match served {
            Ok(()) => Ok(Outcome::Fine),
            Err(error @ ServeError::Listen { .. }) => {
                writeln!(terminal.err, "tenantry: {error}")?;
                Ok(Outcome::CannotConnect)
            }
            Err(error @ ServeError::NoAddress) => {
                writeln!(terminal.err, "tenantry: {error}")?;
                Ok(Outcome::Findings)
            }
        }
    }
}
