//! Shapes that several resources share.

use super::declare::{enumerations, lists, scalars, texts};

texts! {
    Description;
    Marker;
    SecurityGroupId;
    StateReason;
    VpcId;
    ZoneName;
}

scalars! {
    PageSize(i32) Integer: at_least(1), at_most(400);
    Port(i32) Integer: at_least(1), at_most(65535);
}

enumerations! {
    ProtocolEnum {
        Http "HTTP",
        Https "HTTPS",
        Tcp "TCP",
        Tls "TLS",
        Udp "UDP",
        TcpUdp "TCP_UDP",
        Geneve "GENEVE",
        Quic "QUIC",
        TcpQuic "TCP_QUIC",
    }
}

lists! {
    SecurityGroups of SecurityGroupId;
}
