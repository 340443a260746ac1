//! Shapes of account limits.

use super::basics::{Marker, PageSize};
use super::declare::{lists, structures, texts};

texts! {
    Max;
    Name;
}

lists! {
    Limits of Limit;
}

structures! {
    #[derive(Default)]
    DescribeAccountLimitsInput {
        marker "Marker" Marker,
        page_size "PageSize" PageSize,
    }

    #[derive(Default)]
    DescribeAccountLimitsOutput {
        limits "Limits" Limits,
        next_marker "NextMarker" Marker,
    }

    #[derive(Default)]
    Limit {
        name "Name" Name,
        max "Max" Max,
    }
}
