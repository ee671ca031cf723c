//! The Cassandra native protocol (CQL binary protocol) v3 and v4 as pure views and encoders.
