"""The four shapes of a gRPC call as the environment says (HTTPS_PROXY, GRPC_DEFAULT_SSL_ROOTS_FILE_PATH): TARGET -> a
line per call with its status, its replies and what the trailers say; at last the calls that must be refused.
"""

import queue
import sys

import grpc

(target,) = sys.argv[1:]
channel = grpc.secure_channel(target, grpc.ssl_channel_credentials())


def trailers(call):
    return dict(call.trailing_metadata() or ()).get("served-by", "-")


def show(name, call, replies):
    print(name, call.code().value[0], b",".join(replies).decode(), trailers(call), sep="|", flush=True)


reply, call = channel.unary_unary("/test.Echo/Unary").with_call(b"one", timeout=20)
show("Unary", call, [reply])

call = channel.unary_stream("/test.Echo/Down")(b"n", timeout=20)
show("Down", call, list(call))

reply, call = channel.stream_unary("/test.Echo/Up").with_call(iter([b"a", b"b", b"c"]), timeout=20)
show("Up", call, [reply])

# Each message waits for the reply to the one before: whoever holds one back makes this time out.
messages = queue.SimpleQueue()
call = channel.stream_stream("/test.Echo/Both")(iter(messages.get, None), timeout=20)
replies = []
for message in (b"x", b"y", b"z"):
    messages.put(message)
    replies.append(next(call))
messages.put(None)
assert next(call, None) is None
show("Both", call, replies)

try:
    channel.unary_unary("/test.Echo/Closed")(b"no", timeout=20)
    print("Closed|0||-")
except grpc.RpcError as error:
    reason = dict(error.initial_metadata() or ()) | dict(error.trailing_metadata() or ())
    print("Closed", error.code().value[0], reason.get("exitgate-reason", "-"), "-", sep="|", flush=True)
try:
    list(channel.stream_stream("/test.Echo/Closed")(iter([b"no"]), timeout=20))
    print("ClosedStream|0||-")
except grpc.RpcError as error:
    print("ClosedStream", error.code().value[0], "", "-", sep="|", flush=True)

# The refusals cost the others nothing.
reply, call = channel.unary_unary("/test.Echo/Unary").with_call(b"again", timeout=20)
show("Unary", call, [reply])
