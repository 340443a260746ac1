//! Messages between a process and its privileged helper: JSON over a pair of sequenced-packet sockets, a message a packet.
//! Descriptors travel from the helper to the process alone.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest message, in bytes: the longest frame with a digit for each half of a byte, and what is around it. So much
/// fits a socket's buffer as the kernel makes it (212,992 bytes).
pub(super) const LONGEST: usize = 160 << 10;

/// The most descriptors that go with a message.
pub(super) const MOST_DESCRIPTORS: usize = 64;

/// Two ends.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends a message, and waits for room unless the socket does not wait.
pub(super) fn send(
    socket: impl AsFd,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > LONGEST {
        return Err(io::Error::other(format!("a message of {} bytes", bytes.len())));
    }
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other(format!("{} descriptors in one message", descriptors.len())));
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The next message of the helper, with its descriptors.
pub(super) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<(T, Vec<OwnedFd>)> {
    let mut bytes = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::other("a message that is cut off"));
    }
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors = descriptors.flatten().collect();
    Ok((serde_json::from_slice(&bytes[..received.bytes])?, descriptors))
}

/// The next message to the helper, as it came; none when nobody is there any more. Descriptors are not taken: the kernel
/// closes them.
pub(super) fn receive_bytes(socket: impl AsFd) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; LONGEST + 1];
    let (length, _) = recv(socket, &mut bytes[..], RecvFlags::empty())?;
    bytes.truncate(length);
    Ok((length > 0).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    #[test]
    fn a_message_arrives_whole_and_with_its_descriptors() {
        let (near, far) = pair().unwrap();
        let file = File::open("/proc/self/stat").unwrap();
        send(&near, &("eth0", 7), &[file.as_fd()]).unwrap();
        let (message, descriptors): ((String, u32), _) = receive(&far).unwrap();
        assert_eq!(message, ("eth0".to_owned(), 7));
        let mut text = String::new();
        File::from(descriptors.into_iter().next().unwrap()).read_to_string(&mut text).unwrap();
        assert!(!text.is_empty());
        drop(near);
        assert_eq!(receive::<u8>(&far).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(receive_bytes(&far).unwrap(), None);
    }

    #[test]
    fn a_message_of_the_longest_frame_finds_room() {
        let (near, far) = pair().unwrap();
        let frame = "ab".repeat(65_535 + 22 + 256);
        send(&near, &frame, &[]).unwrap();
        assert_eq!(receive::<String>(&far).unwrap().0, frame);
        assert!(send(&near, &"a".repeat(LONGEST), &[]).is_err());
    }

    #[test]
    fn descriptors_to_the_helper_are_not_taken() {
        let (near, far) = pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        send(&near, &1, &[writer.as_fd()]).unwrap();
        drop(writer);
        assert_eq!(receive_bytes(&far).unwrap().unwrap(), b"1");
        // Nobody holds the pipe's other end: it is at its end instead of waiting.
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }
}
