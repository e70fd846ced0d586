"""A gRPC service over TLS without generated code: ADDRESS CERTIFICATE KEY -> its port, then a line per call.

`/test.Echo/Unary`, `Down` (one request, three replies), `Up` (all requests in one reply), `Both` (a reply to each).
Messages are bytes as they are.
"""

import concurrent.futures
import sys

import grpc

address, certificate, key = sys.argv[1:]


def said(context, name):
    print(name, flush=True)
    context.set_trailing_metadata([("served-by", name)])


def unary(request, context):
    said(context, "Unary")
    return request


def down(request, context):
    said(context, "Down")
    for number in range(3):
        yield request + str(number).encode()


def up(requests, context):
    said(context, "Up")
    return b"+".join(requests)


def both(requests, context):
    said(context, "Both")
    yield from requests


def closed(_, context):
    said(context, "Closed")
    return b"must not be reached"


handlers = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Down": grpc.unary_stream_rpc_method_handler(down),
    "Up": grpc.stream_unary_rpc_method_handler(up),
    "Both": grpc.stream_stream_rpc_method_handler(both),
    "Closed": grpc.unary_unary_rpc_method_handler(closed),
}
with open(key, "rb") as private, open(certificate, "rb") as public:
    credentials = grpc.ssl_server_credentials([(private.read(), public.read())])
server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", handlers)])
port = server.add_secure_port(f"{address}:0", credentials)
server.start()
print(port, flush=True)
server.wait_for_termination()
