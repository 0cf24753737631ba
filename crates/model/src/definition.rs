//! Service and check definitions as users write them.
