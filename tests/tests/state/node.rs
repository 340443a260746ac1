//! A node as far as the API's state is concerned: an engine, its store, its directory.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use axum::http::{HeaderMap, Method};
use lab::{Host, wait};
use lb_userspace::api::calendar::Timestamp;
use lb_userspace::api::domain::arn::Identity;
use lb_userspace::api::domain::{Engine, State};
use lb_userspace::api::inventory::Inventory;
use lb_userspace::api::service::{Answer, Request, Service};
use lb_userspace::api::signature::Guard;
use lb_userspace::api::store::{Configuration, Etcd, Shared, open_configured};

pub(crate) struct Node {
    service: Service,
}

impl Node {
    /// A node with this etcd, and with its own copy in a directory.
    pub(crate) fn start(host: &Host, directory: &Path, etcd: Etcd) -> Result<Node> {
        let configuration = Configuration { directory: directory.to_owned(), shared: Some(Shared { etcd }) };
        let store = host.enter(|| open_configured(&configuration))?;
        let engine = Engine::kept_in(store, Identity::default(), Inventory::sample())?;
        Ok(Node { service: Service::new(engine, Guard::Open) })
    }

    pub(crate) fn ask(&self, action: &str) -> Answer {
        let request = Request {
            method: Method::POST,
            uri: "/".parse().expect("a path"),
            headers: HeaderMap::new(),
            body: format!("Version=2015-12-01&Action={action}").into_bytes(),
            connection: 0,
            peer: None,
        };
        self.service.answer(&request, Timestamp::now())
    }

    /// Makes a target group: whether that was acknowledged.
    pub(crate) fn make_group(&self, name: &str) -> bool {
        let answer = self
            .ask(&format!("CreateTargetGroup&Name={name}&Protocol=TCP&Port=80&VpcId=vpc-1&TargetType=ip"));
        assert!(matches!(answer.status, 200 | 503), "{name}: {}", answer.body);
        answer.status == 200
    }

    pub(crate) fn state(&self) -> State {
        self.service.state()
    }

    /// Why the shared state can't be changed, if it can't.
    pub(crate) fn problem(&self) -> Option<String> {
        self.service.sharing()?.problem()
    }

    /// Waits until it has the state of a generation.
    pub(crate) fn wait_for(&self, generation: u64) -> Result<State> {
        wait::until("the state of the other node", Duration::from_secs(20), || {
            let state = self.state();
            let newest = state.generation;
            ensure!(newest >= generation, "generation {newest}, not {generation}");
            Ok(state)
        })
    }

    /// Waits until a change is acknowledged: its name.
    pub(crate) fn wait_for_change(&self, name: &str) -> Result<String> {
        let mut number = 0;
        wait::until("an acknowledged change", Duration::from_secs(30), || {
            number += 1;
            let name = format!("{name}-{number}");
            ensure!(self.make_group(&name), "refused");
            Ok(name)
        })
    }
}

/// An etcd without TLS and passwords.
pub(crate) fn plain(endpoints: Vec<String>) -> Etcd {
    Etcd { endpoints, prefix: "/sluice/".to_owned(), tls: None, user: None, password_file: None }
}
