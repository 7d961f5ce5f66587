//! Channels and mutex: tokio's, which need no runtime and wake in FIFO order. Only its watch does not; see
//! [`watch`](super::watch).

use openraft_rt::{
    Mpsc, MpscReceiver, MpscSender, MpscWeakSender, Mutex, Oneshot, OneshotSender, OptionalSend, SendError,
    TryRecvError,
};
use tokio::sync::mpsc::error::TryRecvError as TokioTryRecvError;
use tokio::sync::{MutexGuard, mpsc, oneshot};

/// Bounded multi-producer channels.
#[derive(Debug)]
pub struct SimMpsc;

/// Sending end of a [`SimMpsc`].
#[derive(Debug)]
pub struct SimMpscSender<T>(mpsc::Sender<T>);

/// Receiving end of a [`SimMpsc`].
#[derive(Debug)]
pub struct SimMpscReceiver<T>(mpsc::Receiver<T>);

/// Sending end that keeps no channel open.
#[derive(Debug)]
pub struct SimMpscWeakSender<T>(mpsc::WeakSender<T>);

impl<T> Clone for SimMpscSender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Clone for SimMpscWeakSender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl Mpsc for SimMpsc {
    type Sender<T: OptionalSend> = SimMpscSender<T>;
    type Receiver<T: OptionalSend> = SimMpscReceiver<T>;
    type WeakSender<T: OptionalSend> = SimMpscWeakSender<T>;

    fn channel<T: OptionalSend>(buffer: usize) -> (SimMpscSender<T>, SimMpscReceiver<T>) {
        let (sender, receiver) = mpsc::channel(buffer);
        (SimMpscSender(sender), SimMpscReceiver(receiver))
    }
}

impl<T: OptionalSend> MpscSender<SimMpsc, T> for SimMpscSender<T> {
    async fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.0.send(value).await.map_err(|e| SendError(e.0))
    }

    fn downgrade(&self) -> SimMpscWeakSender<T> {
        SimMpscWeakSender(self.0.downgrade())
    }
}

impl<T: OptionalSend> MpscReceiver<T> for SimMpscReceiver<T> {
    async fn recv(&mut self) -> Option<T> {
        self.0.recv().await
    }

    fn try_recv(&mut self) -> Result<T, TryRecvError> {
        self.0.try_recv().map_err(|e| match e {
            TokioTryRecvError::Empty => TryRecvError::Empty,
            TokioTryRecvError::Disconnected => TryRecvError::Disconnected,
        })
    }
}

impl<T: OptionalSend> MpscWeakSender<SimMpsc, T> for SimMpscWeakSender<T> {
    fn upgrade(&self) -> Option<SimMpscSender<T>> {
        self.0.upgrade().map(SimMpscSender)
    }
}

/// Channels for one value.
#[derive(Debug)]
pub struct SimOneshot;

/// Sending end of a [`SimOneshot`].
#[derive(Debug)]
pub struct SimOneshotSender<T>(oneshot::Sender<T>);

impl Oneshot for SimOneshot {
    type Sender<T: OptionalSend> = SimOneshotSender<T>;
    type Receiver<T: OptionalSend> = oneshot::Receiver<T>;
    type ReceiverError = oneshot::error::RecvError;

    fn channel<T: OptionalSend>() -> (SimOneshotSender<T>, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (SimOneshotSender(sender), receiver)
    }
}

impl<T: OptionalSend> OneshotSender<T> for SimOneshotSender<T> {
    fn send(self, value: T) -> Result<(), T> {
        self.0.send(value)
    }
}

/// A mutex held over awaits.
#[derive(Debug)]
pub struct SimMutex<T>(tokio::sync::Mutex<T>);

impl<T: OptionalSend + 'static> Mutex<T> for SimMutex<T> {
    type Guard<'a> = MutexGuard<'a, T>;

    fn new(value: T) -> Self {
        Self(tokio::sync::Mutex::new(value))
    }

    async fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().await
    }
}
