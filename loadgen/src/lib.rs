//! Open-loop load for servers that speak the Cassandra native protocol.
