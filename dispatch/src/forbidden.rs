//! Driver: what the types of dispatch forbid: each as a program that does not compile, after the same one that does.
//!
//! (Rust checks the error codes on nightly only, and the failure itself everywhere; the program above each shows that nothing else
//! is wrong with it.)

/// A delivery is answered once.
///
/// ```
/// # use colloquium_dispatch::Work;
/// fn answer(work: Work<u8, u8>) {
///     work.complete(1);
/// }
/// ```
///
/// ```compile_fail,E0382
/// # use colloquium_dispatch::Work;
/// fn answer(work: Work<u8, u8>) {
///     work.complete(1);
///     work.complete(2);
/// }
/// ```
pub struct AnsweredTwice;

/// A message is shared between its conversation, its consumer and its caller.
///
/// ```
/// # use colloquium_dispatch::DispatchConversation;
/// fn dispatch(group: &DispatchConversation<std::sync::Mutex<u8>, ()>) {
///     group.dispatch(std::sync::Mutex::new(1)).start().detach();
/// }
/// ```
///
/// ```compile_fail,E0277
/// # use colloquium_dispatch::DispatchConversation;
/// fn dispatch(group: &DispatchConversation<std::cell::Cell<u8>, ()>) {
///     group.dispatch(std::cell::Cell::new(1)).start().detach();
/// }
/// ```
pub struct MessageThatIsNotSync;

/// A handler runs on whatever worker is free.
///
/// ```
/// # use colloquium_dispatch::{Consumer, Delivery, Failure};
/// # async fn rest() {}
/// struct Counts;
/// impl Consumer for Counts {
///     type Message = u8;
///     type Output = u8;
///     async fn handle(&mut self, number: Delivery<u8>) -> Result<u8, Failure> {
///         let kept = std::sync::Arc::new(*number);
///         rest().await;
///         Ok(*kept)
///     }
/// }
/// ```
///
/// ```compile_fail
/// # use colloquium_dispatch::{Consumer, Delivery, Failure};
/// # async fn rest() {}
/// struct Counts;
/// impl Consumer for Counts {
///     type Message = u8;
///     type Output = u8;
///     async fn handle(&mut self, number: Delivery<u8>) -> Result<u8, Failure> {
///         let kept = std::rc::Rc::new(*number);
///         rest().await;
///         Ok(*kept)
///     }
/// }
/// ```
pub struct HandlerThatIsNotSend;

/// Success of an accepted dispatch is no output.
///
/// ```
/// # use colloquium_dispatch::DispatchConversation;
/// async fn output(group: &DispatchConversation<u8, u64>) -> Option<u64> {
///     Some(group.dispatch(1).await.ok()?.into_output())
/// }
/// ```
///
/// ```compile_fail,E0308
/// # use colloquium_dispatch::DispatchConversation;
/// async fn output(group: &DispatchConversation<u8, u64>) -> Option<u64> {
///     Some(group.dispatch(1).accepted().await.ok()?.into_output())
/// }
/// ```
pub struct OutputOfAccepted;

/// Who lets a dispatch go on by itself has no outcome to wait for.
///
/// ```
/// # use colloquium_dispatch::Conversation;
/// async fn wait(conversation: Conversation<u8, u8>) {
///     drop(conversation.await);
/// }
/// ```
///
/// ```compile_fail,E0382
/// # use colloquium_dispatch::Conversation;
/// async fn wait(conversation: Conversation<u8, u8>) {
///     conversation.detach();
///     drop(conversation.await);
/// }
/// ```
pub struct AwaitedAfterDetach;

/// Options come before the beginning.
///
/// ```
/// # use colloquium_dispatch::{DispatchConversation, SECOND};
/// fn begin(group: &DispatchConversation<u8, u8>) {
///     group.dispatch(1).deadline(SECOND).start().detach();
/// }
/// ```
///
/// ```compile_fail,E0599
/// # use colloquium_dispatch::{DispatchConversation, SECOND};
/// fn begin(group: &DispatchConversation<u8, u8>) {
///     group.dispatch(1).start().deadline(SECOND).detach();
/// }
/// ```
pub struct OptionsAfterStart;

/// A dispatch that nobody awaits or starts is nothing, and warned of.
///
/// ```
/// #![deny(unused_must_use)]
/// # use colloquium_dispatch::DispatchConversation;
/// fn begin(group: &DispatchConversation<u8, u8>) {
///     group.dispatch(1).start().detach();
/// }
/// ```
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # use colloquium_dispatch::DispatchConversation;
/// fn begin(group: &DispatchConversation<u8, u8>) {
///     group.dispatch(1);
/// }
/// ```
pub struct NeverStarted;

/// There will be more kinds of errors.
///
/// ```
/// # use colloquium_dispatch::DispatchErrorKind::{self, *};
/// fn is_late(kind: DispatchErrorKind) -> bool {
///     match kind {
///         DeadlineExceeded => true,
///         _ => false,
///     }
/// }
/// ```
///
/// ```compile_fail,E0004
/// # use colloquium_dispatch::DispatchErrorKind::{self, *};
/// fn is_late(kind: DispatchErrorKind) -> bool {
///     match kind {
///         DeadlineExceeded => true,
///         NoConsumerAvailable | UnknownConsumerSelected | Evaluation | Conversation | MaybeCompleted | Poisoned => false,
///         Discarded | Overloaded | Cancelled | Closed | WouldDeadlock | NotStarted => false,
///     }
/// }
/// ```
pub struct MatchOfAllKinds;

/// A consumer's id comes from its group.
///
/// ```
/// # use colloquium_dispatch::{ConsumerGroup, ConsumerId};
/// fn first(group: &ConsumerGroup<u8, u8>) -> Option<ConsumerId> {
///     group.consumers().first().map(|view| view.id)
/// }
/// ```
///
/// ```compile_fail,E0423
/// # use colloquium_dispatch::{ConsumerGroup, ConsumerId};
/// fn first(_: &ConsumerGroup<u8, u8>) -> Option<ConsumerId> {
///     Some(ConsumerId(0))
/// }
/// ```
pub struct MadeUpConsumer;

/// A group of one kind of messages takes no others, nor rules over messages that do not tell their fields.
///
/// ```
/// # use colloquium_dispatch::fields::{FieldValue, Predicate, RoutingMessage, field};
/// struct Message;
/// impl RoutingMessage for Message {
///     fn field(&self, _: &str) -> Option<FieldValue<'_>> {
///         None
///     }
/// }
/// field("a").is(1).compile::<Message>().unwrap();
/// ```
///
/// ```compile_fail,E0277
/// # use colloquium_dispatch::fields::{FieldValue, Predicate, RoutingMessage, field};
/// struct Message;
/// field("a").is(1).compile::<Message>().unwrap();
/// ```
pub struct MessageWithoutFields;
