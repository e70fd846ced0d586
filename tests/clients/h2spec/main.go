// The conformance suite of HTTP/2 for servers, against HOST:PORT over TLS; names are asked of the name server given as
// the second argument. Ends with 1 if a case fails.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/summerwind/h2spec"
	"github.com/summerwind/h2spec/config"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Println("h2spec HOST:PORT NAMESERVER")
		return
	}
	host, port, err := net.SplitHostPort(os.Args[1])
	if err != nil {
		fail(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		fail(err)
	}
	net.DefaultResolver = &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, network, os.Args[2])
		},
	}
	passed, err := h2spec.Run(&config.Config{
		Host:         host,
		Port:         number,
		Path:         "/",
		Timeout:      5 * time.Second,
		MaxHeaderLen: 4000,
		TLS:          true,
		Insecure:     true,
	})
	if err != nil {
		fail(err)
	}
	if !passed {
		os.Exit(1)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(2)
}
