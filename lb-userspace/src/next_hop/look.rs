//! One look at the ways to targets, for who wants to know and not to follow: the kernel is asked, and nothing is
//! requested of it. A neighbour that nobody asked it to resolve is pending here.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Context;

use super::Resolutions;
use super::links::{Interface, Links};
use super::neighbours::Neighbours;
use super::requests::Requests;
use super::resolve::resolve;

/// All interfaces of this host, in the network namespace of the calling thread.
///
/// # Errors
/// If the kernel does not answer.
pub async fn interfaces() -> anyhow::Result<Vec<Interface>> {
    let links = Requests::open()?.links().await.context("listing the interfaces (RTM_GETLINK)")?;
    Ok(links.iter().filter_map(Interface::parse).collect())
}

/// How each of the targets is reached at this moment.
///
/// # Errors
/// If the kernel does not answer.
pub async fn look(targets: &BTreeSet<IpAddr>) -> anyhow::Result<Resolutions> {
    let mut requests = Requests::open()?;
    let links = requests.links().await.context("listing the interfaces (RTM_GETLINK)")?;
    let listed = requests.neighbours().await.context("listing the neighbours (RTM_GETNEIGH)")?;
    let answers = requests.routes(targets).await.context("looking up routes (RTM_GETROUTE)")?;
    let links = Links::from_dump(&links);
    let mut neighbours = Neighbours::default();
    neighbours.resynchronize(&listed);
    let resolved = |(target, answer)| (target, resolve(target, &answer, &links, &neighbours));
    Ok(answers.into_iter().map(resolved).collect())
}
