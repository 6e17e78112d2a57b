"""How large what agents and gateways say to each other may be; `node.proto` names the same."""

MESSAGE_BYTES = 4 << 20
"""Of any gRPC message, either way."""
LOG_REQUEST_BYTES = 1 << 20
"""Of one request of PushLogs."""
LINE_BYTES = 64 << 10
"""Of one log line in UTF-8; a longer one goes on in the next."""
OUTPUT_BYTES = 64 << 10
"""Of all names and values that one attempt outputs."""
UNACKNOWLEDGED_REQUESTS = 16
"""Of one stream of PushLogs."""
MESSAGE_OPTIONS = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
)
"""Both sides set them, whatever the defaults of their library are."""
