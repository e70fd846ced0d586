//! Watches of everything that policy depends on, as one stream of events.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::stream::{Stream, StreamExt as _, select_all};
use k8s_openapi::api::core::v1 as core;
use kube::api::{ApiResource, DynamicObject, Object as Trimmed, ObjectMeta, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client};
use serde::Deserialize;
use serde_json::{Value, json};

use super::accepted::unpack;
use super::event::{
    AcceptedSpec, Document, Event, Invalid, Namespace, Node, Object, ObjectKey, Pod, Sink, Watched,
};
use crate::api::{GROUP, Kind, VERSION};
use crate::crd::status::ObjectStatus;
use crate::source::ObjectReader;

/// A policy may have half a megabyte: a page is bounded by what a list of such may take.
const DOCUMENTS_PER_PAGE: u32 = 50;
const OTHERS_PER_PAGE: u32 = 500;

type Events = Pin<Box<dyn Stream<Item = Result<Event, (Watched, watcher::Error)>> + Send>>;

/// Watches until the future is dropped. An interruption is retried with a growing pause; a list that begins anew is told as
/// [`Event::Reset`].
pub async fn watch(client: Client, sink: &mut impl Sink) {
    let reader = Arc::new(ObjectReader::new());
    let mut streams: Vec<Events> = Kind::ALL
        .into_iter()
        .map(|kind| documents(&client, kind, Arc::clone(&reader)))
        .collect();
    streams.push(namespaces(&client));
    streams.push(nodes(&client));
    streams.push(pods(&client));
    let mut events = select_all(streams);
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => sink.event(event),
            Err((watched, error)) => {
                tracing::warn!(kind = %watched, %error, "watch interrupted, trying again");
            }
        }
    }
}

fn config(page: u32) -> watcher::Config {
    watcher::Config::default().page_size(page)
}

/// What a watch says, with each object put through `read`.
fn told<K, S>(
    watched: Watched,
    stream: S,
    read: impl Fn(K) -> Option<Event> + Send + 'static,
    key: impl Fn(&K) -> Option<ObjectKey> + Send + 'static,
) -> Events
where
    S: Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static,
    K: Send + 'static,
{
    Box::pin(stream.filter_map(move |event| {
        let told = match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                read(object).map(Ok)
            }
            Ok(watcher::Event::Delete(object)) => key(&object).map(|key| Ok(Event::Delete(key))),
            Ok(watcher::Event::Init) => Some(Ok(Event::Reset(watched))),
            Ok(watcher::Event::InitDone) => Some(Ok(Event::Synced(watched))),
            Err(error) => Some(Err((watched, error))),
        };
        std::future::ready(told)
    }))
}

fn key_of(watched: Watched, metadata: &ObjectMeta) -> Option<ObjectKey> {
    Some(ObjectKey {
        watched,
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone()?,
    })
}

/// How the API server calls one of our kinds.
pub(super) fn resource(kind: Kind) -> ApiResource {
    let plural = match kind {
        Kind::ClusterEgressDomainSet => "clusteregressdomainsets",
        Kind::ClusterEgressPolicy => "clusteregresspolicies",
        Kind::EgressCredential => "egresscredentials",
        Kind::EgressDomainSet => "egressdomainsets",
        Kind::EgressGateway => "egressgateways",
        Kind::EgressPolicy => "egresspolicies",
    };
    ApiResource {
        group: GROUP.to_owned(),
        version: VERSION.to_owned(),
        api_version: format!("{GROUP}/{VERSION}"),
        kind: kind.as_str().to_owned(),
        plural: plural.to_owned(),
    }
}

fn documents(client: &Client, kind: Kind, reader: Arc<ObjectReader>) -> Events {
    let watched = Watched::Document(kind);
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource(kind));
    let stream = watcher(api, config(DOCUMENTS_PER_PAGE)).default_backoff();
    told(
        watched,
        stream,
        move |object| document(watched, object, &reader),
        move |object| key_of(watched, &object.metadata),
    )
}

/// Reads one object strictly. Whatever is wrong with it is said about it alone.
pub(super) fn document(
    watched: Watched,
    mut object: DynamicObject,
    reader: &ObjectReader,
) -> Option<Event> {
    let key = key_of(watched, &object.metadata)?;
    let Watched::Document(kind) = watched else {
        return None;
    };
    let uid = object.metadata.uid.clone().unwrap_or_default();
    let generation = object.metadata.generation.unwrap_or_default();
    let version = object
        .metadata
        .resource_version
        .as_deref()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    // A status that cannot be read is written anew.
    let status: ObjectStatus = object
        .data
        .get_mut("status")
        .map(Value::take)
        .and_then(|status| serde_json::from_value(status).ok())
        .unwrap_or_default();
    let written = object
        .data
        .get_mut("spec")
        .map(Value::take)
        .unwrap_or_default();
    let envelope = |spec: &Value| envelope(kind, key.namespace.as_deref(), &key.name, spec);
    let accepted = status.accepted.as_ref().and_then(|form| {
        // Read as strictly as a new form: an older controller may have accepted what this one does not know.
        let spec = unpack(form)
            .map_err(|error| error.to_string())
            .and_then(|spec| {
                let read = reader.read(&envelope(&spec));
                read.map_err(|findings| {
                    findings.first().map(ToString::to_string).unwrap_or_default()
                })
            });
        match spec {
            Ok(read) => Some(AcceptedSpec {
                generation: form.generation,
                digest: form.digest.clone(),
                spec: read.spec,
            }),
            Err(error) => {
                tracing::warn!(object = %key, error, "the accepted form in the status is of no use");
                None
            }
        }
    });
    Some(match reader.read(&envelope(&written)) {
        Ok(read) => Event::Apply(Object::Document(Box::new(Document {
            deleting: object.metadata.deletion_timestamp.is_some(),
            key,
            uid,
            generation,
            version,
            spec: read.spec,
            written,
            status,
            accepted,
        }))),
        Err(findings) => Event::Invalid(Box::new(Invalid {
            key,
            uid,
            generation,
            version,
            findings,
            written,
            status,
            accepted,
        })),
    })
}

/// The document that an object would be in a file: of its metadata only what names it, the rest is not ours to read.
pub(super) fn envelope(kind: Kind, namespace: Option<&str>, name: &str, spec: &Value) -> Value {
    let mut metadata = json!({"name": name});
    if let (Some(namespace), Some(fields)) = (namespace, metadata.as_object_mut()) {
        fields.insert("namespace".to_owned(), json!(namespace));
    }
    json!({"apiVersion": format!("{GROUP}/{VERSION}"), "kind": kind.as_str(), "metadata": metadata, "spec": spec})
}

fn namespaces(client: &Client) -> Events {
    let api: Api<PartialObjectMeta<core::Namespace>> = Api::all(client.clone());
    let stream = watcher(api, config(OTHERS_PER_PAGE)).default_backoff();
    told(
        Watched::Namespace,
        stream,
        |object| {
            Some(Event::Apply(Object::Namespace(Namespace {
                name: object.metadata.name?,
                labels: object.metadata.labels.unwrap_or_default(),
            })))
        },
        |object| key_of(Watched::Namespace, &object.metadata),
    )
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeSpec {
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeStatus {
    addresses: Vec<NodeAddress>,
}

#[derive(Clone, Debug, Deserialize)]
struct NodeAddress {
    address: String,
}

fn nodes(client: &Client) -> Events {
    let resource = ApiResource::erase::<core::Node>(&());
    let api: Api<Trimmed<NodeSpec, NodeStatus>> = Api::all_with(client.clone(), &resource);
    let stream = watcher(api, config(OTHERS_PER_PAGE)).default_backoff();
    told(
        Watched::Node,
        stream,
        |object| {
            let addresses = object.status.unwrap_or_default().addresses;
            Some(Event::Apply(Object::Node(Node {
                name: object.metadata.name?,
                uid: object.metadata.uid.unwrap_or_default(),
                labels: object.metadata.labels.unwrap_or_default(),
                // Host names stand in the same list.
                addresses: addresses
                    .iter()
                    .filter_map(|entry| entry.address.parse().ok())
                    .collect(),
                pod_ranges: object.spec.pod_cidrs,
            })))
        },
        |object| key_of(Watched::Node, &object.metadata),
    )
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    service_account_name: Option<String>,
    node_name: Option<String>,
    host_network: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<PodAddress>,
}

#[derive(Clone, Debug, Deserialize)]
struct PodAddress {
    ip: String,
}

fn pods(client: &Client) -> Events {
    let resource = ApiResource::erase::<core::Pod>(&());
    let api: Api<Trimmed<PodSpec, PodStatus>> = Api::all_with(client.clone(), &resource);
    let stream = watcher(api, config(OTHERS_PER_PAGE)).default_backoff();
    told(
        Watched::Pod,
        stream,
        |object| {
            pod(
                object.metadata,
                object.spec,
                &object.status.unwrap_or_default(),
            )
        },
        |object| key_of(Watched::Pod, &object.metadata),
    )
}

fn pod(metadata: ObjectMeta, spec: PodSpec, status: &PodStatus) -> Option<Event> {
    let addresses = if spec.host_network {
        Vec::new()
    } else {
        let own = status.pod_ips.iter();
        own.filter_map(|entry| entry.ip.parse().ok()).collect()
    };
    let labels: BTreeMap<String, String> = metadata.labels.unwrap_or_default();
    Some(Event::Apply(Object::Pod(Pod {
        namespace: metadata.namespace?,
        name: metadata.name?,
        uid: metadata.uid.unwrap_or_default(),
        labels,
        service_account: spec
            .service_account_name
            .unwrap_or_else(|| "default".to_owned()),
        node: spec.node_name.filter(|name| !name.is_empty()),
        addresses,
        host_network: spec.host_network,
        ended: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
    })))
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
