//! From an HTTP request to its answer: who asks, what is asked, may they, and what comes of it. No sockets here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use axum::http::{HeaderMap, Method, Uri};
use tokio::sync::watch;

use super::audit::{Account, AuditLog};
use super::calendar::Timestamp;
use super::chronicle::{self, Cause};
use super::domain::administration::Order;
use super::domain::{
    Access, Call, Changes, ELSEWHERE, Effect, Engine, Held, Operation, Purpose, Queue, Sharing, Snapshot,
    State,
};
use super::inventory::Inventory;
use super::inventory::ec2::Feed;
use super::protocol::{ApiError, Code, Node, VERSION, form, xml};
use super::signature::{Caller, Credentials, Guard, Signed, Ticket, Told, Turn};
use crate::events::{Journal, Kind};
use crate::metrics::calls::Calls;
use crate::metrics::{ApiScrape, InventoryScrape};
use crate::plan;

/// Where an ephemeral server forgets everything.
pub const RESET: &str = "/_sluice/reset";

/// An HTTP request, body and all.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET` or `POST`.
    pub method: Method,
    /// The path and the query.
    pub uri: Uri,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// The number of the connection, the same for all requests that it carries.
    pub connection: u64,
    /// Where the connection comes from, if that is known.
    pub peer: Option<SocketAddr>,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The same id that the body has.
    pub request_id: String,
    /// XML.
    pub body: String,
}

/// What of the API may not be as it is configured, in the order in which it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Where it is served.
    Address,
    /// What it is to be trusted by.
    Certificate,
    /// Who is let in.
    Credentials,
}

/// The API of one engine.
pub struct Service {
    engine: Queue,
    guard: RwLock<Arc<Guard>>,
    /// What is not as it is configured, for people.
    problems: Mutex<BTreeMap<Part, String>>,
    calls: Calls,
    audit: Option<AuditLog>,
    /// Where changes are noted for people, where there is a node.
    journal: OnceLock<Arc<Journal>>,
    /// Who tells the inventory, if it is not given.
    feed: Option<Arc<Feed>>,
    /// Whether [`RESET`] is served.
    is_ephemeral: bool,
}

impl Service {
    /// The API over an engine whose state is kept.
    pub fn new(engine: Engine, guard: Guard) -> Service {
        Service {
            engine: Queue::new(engine),
            guard: RwLock::new(Arc::new(guard)),
            problems: Mutex::default(),
            calls: Calls::default(),
            audit: None,
            journal: OnceLock::new(),
            feed: None,
            is_ephemeral: false,
        }
    }

    /// The API over an engine whose state need not be kept.
    pub fn ephemeral(engine: Engine, guard: Guard) -> Service {
        Service { is_ephemeral: true, ..Service::new(engine, guard) }
    }

    /// With a log of who changed what.
    pub fn with_audit(self, audit: Option<AuditLog>) -> Service {
        Service { audit, ..self }
    }

    /// From now on changes are noted there. Only the first call counts.
    pub fn note_in(&self, journal: Arc<Journal>) {
        self.engine().note_others_in(Arc::clone(&journal));
        // One journal is as good as another: there is one controller.
        let _ = self.journal.set(journal);
    }

    /// Carries out the order of an operator with that user id on this host; whether it changed anything.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn administer(&self, order: &Order, user: u32, now: Timestamp) -> Result<bool, ApiError> {
        let mut account = Account::of_operator(now, &request_id(), user, order);
        let done = self.tell_of_change(&account).and_then(|()| self.engine().administer(order));
        if let Ok(changes) = &done {
            account.change(changes, &self.engine.snapshot().state);
            let why = format!("sluice target {}", order.change);
            self.note(Cause { kind: Kind::Operator, who: format!("operator (uid {user})"), why }, changes);
        }
        if let Some(audit) = &self.audit {
            audit.answer(&account, done.as_ref().err(), now);
        }
        done.map(|changes| !changes.is_empty())
    }

    fn note(&self, cause: Cause, changes: &Changes) {
        let Some(journal) = self.journal.get() else { return };
        let notes = chronicle::notes(&cause, changes, &self.engine.snapshot().state);
        notes.into_iter().for_each(|note| journal.note(note));
    }

    /// With an inventory that an endpoint tells.
    pub fn with_feed(self, feed: Option<Arc<Feed>>) -> Service {
        Service { feed, ..self }
    }

    /// Who tells the inventory, if it is not given.
    pub fn feed(&self) -> Option<&Arc<Feed>> {
        self.feed.as_ref()
    }

    /// What a document would change.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn plan(&self, wish: &plan::Wish, now: Timestamp) -> Result<plan::Made, plan::Refused> {
        plan::work(&mut self.engine(), wish, Purpose::Try, now)
    }

    /// Changes what a document would change, if the state is still the one of generation `base`; the operator with that
    /// user id on this host wants it.
    ///
    /// # Errors
    /// Why it is refused; then nothing has changed.
    pub fn apply(
        &self,
        wish: &plan::Wish,
        base: u64,
        user: u32,
        now: Timestamp,
    ) -> Result<plan::Made, plan::Refused> {
        let mut account = Account::of_document(now, &request_id(), user, &wish.file);
        let asked = self.tell_of_change(&account).map_err(plan::Refused::from);
        let made = asked.and_then(|()| plan::work(&mut self.engine(), wish, Purpose::Keep { base }, now));
        if let Ok(made) = &made
            && !made.outlook.changes.is_empty()
        {
            account.change(&made.outlook.changes, &made.outlook.after);
            self.calls.count_change();
            let (who, why) = (format!("operator (uid {user})"), format!("sluice apply {}", wish.file));
            self.note(Cause { kind: Kind::Operator, who, why }, &made.outlook.changes);
            tracing::info!(user, file = wish.file, "sluice apply");
        }
        if let Some(audit) = &self.audit {
            let refusal = made.as_ref().err().map(|refused| match refused {
                plan::Refused::State(error) => error.clone(),
                plan::Refused::Document(error) => Code::ValidationError.because(error.to_string()),
            });
            audit.answer(&account, refusal.as_ref(), now);
        }
        made
    }

    /// What the metrics tell of it.
    pub fn scrape(&self) -> ApiScrape {
        let inventory = self.feed.as_ref().map(|feed| InventoryScrape::of(&feed.report(), Timestamp::now()));
        ApiScrape::of(&self.calls, self.audit.as_ref().map(|audit| &**audit.counts()), inventory)
    }

    /// The state as it is now, with what others have changed.
    pub fn state(&self) -> State {
        let mut engine = self.engine();
        engine.catch_up();
        engine.state().clone()
    }

    /// The state that was kept last, with the inventory that it was checked with. This waits for nobody.
    pub fn snapshot(&self) -> (State, Arc<Inventory>) {
        let Snapshot { state, inventory, .. } = &*self.engine.snapshot();
        (state.clone(), Arc::clone(inventory))
    }

    /// The same, and whether the data plane can carry it. This waits for nobody.
    pub fn latest(&self) -> Arc<Snapshot> {
        self.engine.snapshot()
    }

    /// How many changes there were, and when there is another.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.engine.changes()
    }

    /// Tells the newest generation that others have made: time to [`Service::catch_up`]. None if there are no others.
    pub fn news(&self) -> Option<watch::Receiver<u64>> {
        self.engine().watch()
    }

    /// How the state is shared with other nodes; none if it is not.
    pub fn sharing(&self) -> Option<Arc<dyn Sharing>> {
        self.engine().sharing()
    }

    /// Takes in what others have changed. This waits for calls that are carried out.
    pub fn catch_up(&self) {
        self.engine().catch_up();
    }

    /// Whether the state can be carried with another inventory.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, inventory: &Arc<Inventory>) -> Result<(), ApiError> {
        self.engine().check_inventory(inventory)
    }

    /// Goes on with another inventory, and with the guard of another file of credentials if there is one.
    ///
    /// # Errors
    /// When the data plane can't carry the state with that inventory; nothing is taken over then.
    pub fn reconfigure(&self, inventory: Arc<Inventory>, guard: Option<Guard>) -> Result<(), ApiError> {
        self.engine().set_inventory(inventory)?;
        let Some(guard) = guard else { return Ok(()) };
        self.tell(Part::Credentials, None);
        let mut present = self.guard.write().unwrap_or_else(PoisonError::into_inner);
        *present = Arc::new(guard.after(&present));
        Ok(())
    }

    /// Goes on with another inventory.
    ///
    /// # Errors
    /// When the data plane can't carry the state with that inventory; the present one stays then.
    pub fn take_inventory(&self, inventory: Arc<Inventory>) -> Result<(), ApiError> {
        self.engine().set_inventory(inventory)
    }

    /// Says that there is something new to tell of where the inventory comes from.
    pub fn tell_of_inventory(&self) {
        self.engine.wake();
    }

    /// The file that the credentials are from.
    pub fn credentials_file(&self) -> Option<PathBuf> {
        self.guard().file().map(Path::to_owned)
    }

    /// Goes on with other credentials; whether they differ.
    pub fn take_credentials(&self, credentials: Credentials) -> bool {
        let mut present = self.guard.write().unwrap_or_else(PoisonError::into_inner);
        let renewed = present.renewed(credentials);
        let is_other = renewed.is_some();
        if let Some(guard) = renewed {
            *present = Arc::new(guard);
        }
        drop(present);
        self.tell(Part::Credentials, None);
        is_other
    }

    /// Whether there is anybody who is let in.
    pub(super) fn lets_somebody_in(&self) -> bool {
        self.guard().lets_somebody_in()
    }

    /// Says what is not as it is configured, or that it is now; whether that is something new.
    pub(super) fn tell(&self, part: Part, problem: Option<String>) -> bool {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        if problems.get(&part) == problem.as_ref() {
            return false;
        }
        match problem {
            Some(problem) => problems.insert(part, problem),
            None => problems.remove(&part),
        };
        drop(problems);
        // No change of the state, and yet there is something new to tell.
        self.engine.wake();
        true
    }

    /// What is not as it is configured, for people.
    pub fn problems(&self) -> Vec<String> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Forgets the deregistered targets that have drained by now; when the next one has.
    ///
    /// # Errors
    /// When that can't be kept; the next call tries again.
    pub fn expire(&self, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
        let mut engine = self.engine();
        engine.expire(now)?;
        Ok(engine.next_expiry())
    }

    #[cfg(test)]
    pub(super) fn has_key(&self, key_id: &str) -> bool {
        matches!(&*self.guard(), Guard::Signed(verifier) if verifier.has_key(key_id))
    }

    fn guard(&self) -> Arc<Guard> {
        Arc::clone(&self.guard.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers a request; `now` is the time.
    pub fn answer(&self, request: &Request, now: Timestamp) -> Answer {
        let begun = Instant::now();
        let request_id = request_id();
        let mut call = Progress::new(Account::new(now, &request_id, request));
        let told = match self.carry_out(request, now, &request_id, &mut call) {
            Ok(Outcome::Repeated(told)) => told,
            Ok(Outcome::Done(body)) => call.end(Answer { status: 200, request_id, body }, None),
            Err(error) => call.end(refuse(&error, request_id), Some(error)),
        };
        self.account_for(&call.account, told.refusal.as_ref(), begun, now);
        if let Some(ticket) = call.ticket {
            ticket.tell(Arc::clone(&told));
        }
        told.answer.clone()
    }

    /// The answer to a request whose body was not read.
    pub fn refuse_unread(&self, request: &Request, error: &ApiError, now: Timestamp) -> Answer {
        let (begun, request_id) = (Instant::now(), request_id());
        self.account_for(&Account::new(now, &request_id, request), Some(error), begun, now);
        refuse(error, request_id)
    }

    /// In the audit log and the metrics.
    fn account_for(&self, account: &Account, refusal: Option<&ApiError>, begun: Instant, now: Timestamp) {
        if let Some(audit) = &self.audit {
            audit.answer(account, refusal, now);
        }
        self.calls.count(account.operation(), refusal.map(|error| error.code), begun.elapsed());
    }

    /// Tells `call` what becomes known of the request on the way.
    fn carry_out(
        &self,
        request: &Request,
        now: Timestamp,
        request_id: &str,
        call: &mut Progress,
    ) -> Result<Outcome, ApiError> {
        check_place(request, self.is_ephemeral)?;
        let guard = self.guard();
        let caller = guard.identify(&Signed::of(request), now)?;
        call.account.identify(&caller);
        if request.uri.path() == RESET {
            call.account.name("Reset");
            caller.check_reset()?;
            if let Some(told) = call.admit(guard.admit(&caller, true, now, || self.snapshot().0)?) {
                return Ok(Outcome::Repeated(told));
            }
            return self.reset(request_id, call);
        }
        let parameters = parameters(request)?;
        call.account.name_action(&parameters);
        let operation = operation(&parameters)?;
        call.account.ask(operation, &parameters);
        caller.check(operation)?;
        let changes = operation.access != Access::Reads;
        if let Some(told) = call.admit(guard.admit(&caller, changes, now, || self.snapshot().0)?) {
            return Ok(Outcome::Repeated(told));
        }
        if changes {
            self.tell_of_change(&call.account)?;
        }
        let (outcome, changes) = self.engine.call(Call { operation, parameters, now })?;
        if !changes.is_empty() {
            let snapshot = self.engine.snapshot();
            call.account.change(&changes, &snapshot.state);
            call.effect = Effect::of(&changes, &snapshot.state);
            self.calls.count_change();
            let peer = request.peer.map_or(String::new(), |peer| format!(" at {peer}"));
            let (who, why) = (format!("API caller {caller}{peer}"), operation.name.to_owned());
            self.note(Cause { kind: Kind::Api, who, why }, &changes);
        }
        log(operation, &caller, changes.is_empty(), request_id);
        Ok(Outcome::Done(xml::answer(operation.name, request_id, |xml| xml.append(outcome))))
    }

    fn reset(&self, request_id: &str, call: &mut Progress) -> Result<Outcome, ApiError> {
        self.tell_of_change(&call.account)?;
        let mut engine = self.engine();
        engine.reset()?;
        call.effect = Effect::of_everything(engine.state().generation);
        drop(engine);
        self.calls.count_change();
        Ok(Outcome::Done(xml::answer("Reset", request_id, |_| {})))
    }

    /// Before a change is made.
    fn tell_of_change(&self, account: &Account) -> Result<(), ApiError> {
        self.audit.as_ref().map_or(Ok(()), |audit| audit.ask(account))
    }

    fn engine(&self) -> Held<'_> {
        self.engine.engine()
    }
}

/// What came of a request that was not refused.
enum Outcome {
    /// It was carried out; the answer's body.
    Done(String),
    /// It had been carried out before.
    Repeated(Arc<Told>),
}

/// A request on its way.
struct Progress {
    account: Account,
    /// Of a change that was signed.
    ticket: Option<Ticket>,
    /// What it changed until now.
    effect: Effect,
}

impl Progress {
    fn new(account: Account) -> Progress {
        Progress { account, ticket: None, effect: Effect::default() }
    }

    /// What came of it the first time, where it is not to be carried out.
    fn admit(&mut self, turn: Turn) -> Option<Arc<Told>> {
        match turn {
            Turn::CarryOut(ticket) => {
                self.ticket = ticket;
                None
            }
            Turn::Repeat(told) => {
                self.account.repeat(&told.answer.request_id);
                Some(told)
            }
        }
    }

    /// What came of it.
    fn end(&mut self, answer: Answer, refusal: Option<ApiError>) -> Arc<Told> {
        Arc::new(Told { answer, refusal, effect: std::mem::take(&mut self.effect) })
    }
}

fn refuse(error: &ApiError, request_id: String) -> Answer {
    let body = xml::error(error, &request_id);
    Answer { status: error.code.status(), request_id, body }
}

fn log(operation: &Operation, caller: &Caller, is_unchanged: bool, request_id: &str) {
    if is_unchanged {
        tracing::debug!(caller = %caller, request_id, "{}", operation.name);
    } else {
        tracing::info!(caller = %caller, request_id, "{}", operation.name);
    }
}

fn check_place(request: &Request, is_ephemeral: bool) -> Result<(), ApiError> {
    match (request.uri.path(), &request.method) {
        ("/", &Method::GET | &Method::POST) => Ok(()),
        (RESET, &Method::POST) if is_ephemeral => Ok(()),
        (path, method) => Err(Code::UnknownOperation
            .because(format!("{method} {path} is not served; the API is served by POST and GET at /"))),
    }
}

fn parameters(request: &Request) -> Result<Node, ApiError> {
    // A presigned POST has its parameters in the query, too.
    let encoded = match request.method {
        Method::POST if !request.body.is_empty() => &request.body,
        _ => request.uri.query().unwrap_or("").as_bytes(),
    };
    let pairs =
        form::parse(encoded).map_err(|error| Code::MalformedQueryString.because(error.to_string()))?;
    Node::from_pairs(pairs).map_err(|error| Code::MalformedQueryString.because(error.to_string()))
}

fn operation(parameters: &Node) -> Result<&'static Operation, ApiError> {
    let text = |name: &str| parameters.child(name).and_then(Node::text).filter(|text| !text.is_empty());
    let Some(action) = text("Action") else {
        return Err(Code::MissingAction.because("The request must contain the parameter Action"));
    };
    let version = text("Version").unwrap_or("NO_VERSION_SPECIFIED");
    let unknown =
        || Code::InvalidAction.because(format!("Could not find operation {action} for version {version}"));
    if version != VERSION {
        return Err(unknown());
    }
    if ELSEWHERE.contains(&action) {
        return Err(Code::OperationNotPermitted
            .because(format!("{action} is not supported: this server has network load balancers only")));
    }
    Operation::named(action).ok_or_else(unknown)
}

/// A random UUID (version 4).
fn request_id() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes");
    let number = u128::from_be_bytes(bytes) & !(0xf << 76 | 0b11 << 62) | 4 << 76 | 0b10 << 62;
    let hex = format!("{number:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::api::domain::arn::Identity;
    use crate::api::signature::{SERVICE, Scope, sign};

    const NOW: Timestamp = Timestamp(1_440_938_160_000);
    const SECRET: &str = "0123456789abcdef";

    fn service() -> Service {
        let credentials = r#"{ "credentials": [
            { "access_key_id": "ADMIN", "secret_access_key": "0123456789abcdef", "role": "admin" } ] }"#;
        let guard = Guard::signed(Credentials::parse(credentials).unwrap());
        Service::ephemeral(Engine::ephemeral(Identity::default(), Inventory::sample()), guard)
    }

    /// The same bytes each time, on a connection.
    fn ask(service: &Service, form: &str, connection: u64) -> Answer {
        let time = "20150830T123600Z";
        let body = format!("Version=2015-12-01&Action={form}").into_bytes();
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("localhost"));
        headers.insert("x-amz-date", HeaderValue::from_static(time));
        let scope = Scope { date: &time[..8], region: "local", service: SERVICE };
        let signed = Signed::of_parts(&Method::POST, "/", "", &headers, &body);
        let signature = sign(&signed, &scope, time, &["host", "x-amz-date"], SECRET).unwrap();
        let hex: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        let field = format!(
            "AWS4-HMAC-SHA256 Credential=ADMIN/20150830/local/{SERVICE}/aws4_request, SignedHeaders=host;x-amz-date, \
             Signature={hex}"
        );
        headers.insert("authorization", HeaderValue::try_from(field).unwrap());
        let request = Request {
            method: Method::POST,
            uri: "/".parse().unwrap(),
            headers,
            body,
            connection,
            peer: None,
        };
        service.answer(&request, NOW)
    }

    const CREATE: &str = "CreateTargetGroup&Name=web&Protocol=TCP&Port=80&VpcId=vpc-1&TargetType=ip";

    fn group(answer: &Answer) -> String {
        let arn = answer.body.split("<TargetGroupArn>").nth(1).unwrap_or_else(|| panic!("{answer:?}"));
        arn.split('<').next().unwrap().to_owned()
    }

    #[test]
    fn a_change_that_is_sent_again_has_the_same_answer_and_acts_once() {
        let service = service();
        let created = ask(&service, CREATE, 1);
        let delete = format!("DeleteTargetGroup&TargetGroupArn={}", group(&created));
        assert_eq!(ask(&service, CREATE, 2), created);
        assert_eq!(service.state().generation, 1);
        let deleted = ask(&service, &delete, 3);
        assert_eq!((deleted.status, ask(&service, &delete, 4)), (200, deleted));
        assert_eq!(service.state().generation, 2);
        assert_eq!(service.scrape().changes, 2);
    }

    #[test]
    fn what_was_undone_since_is_not_said_to_be_in_force() {
        let service = service();
        let arn = group(&ask(&service, CREATE, 1));
        let registered = |number| {
            ask(
                &service,
                &format!("RegisterTargets&TargetGroupArn={arn}&Targets.member.1.Id=10.0.1.1"),
                number,
            )
        };
        let deregister = format!("DeregisterTargets&TargetGroupArn={arn}&Targets.member.1.Id=10.0.1.1");
        assert_eq!((registered(2).status, ask(&service, &deregister, 3).status), (200, 200));
        let again = registered(4);
        assert!(again.status == 400 && again.body.contains("<Code>Throttling</Code>"), "{again:?}");
        assert_eq!(registered(2).status, 200, "its own connection may say the same once more");
    }

    #[test]
    fn repeats_at_the_same_moment_act_once() {
        let service = service();
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let ask = |connection| {
                scope.spawn({
                    let service = &service;
                    move || ask(service, CREATE, connection)
                })
            };
            let asking: Vec<_> = (0..8).map(ask).collect();
            asking.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(answers.iter().all(|answer| *answer == answers[0] && answer.status == 200), "{answers:?}");
        assert_eq!(service.state().generation, 1);
    }

    #[test]
    fn request_ids_are_uuids() {
        let id = request_id();
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "4");
        assert!("89ab".contains(&id[19..20]), "{id}");
        assert_ne!(id, request_id());
    }
}
