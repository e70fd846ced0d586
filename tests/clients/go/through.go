// net/http as the environment says (HTTPS_PROXY, SSL_CERT_FILE): VERSION METHOD URL... gives a line per request:
// status, reason of a refusal, the issuer of the certificate seen, body.
package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

func main() {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: os.Args[1] == "2"}
	if os.Args[1] == "1" {
		// An empty map keeps the transport from offering HTTP/2.
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	client := http.Client{Transport: transport, Timeout: 20 * time.Second}
	for words := os.Args[2:]; len(words) >= 2; words = words[2:] {
		var body io.Reader
		if words[0] == "POST" {
			body = strings.NewReader("sent")
		}
		request, err := http.NewRequest(words[0], words[1], body)
		fail(err)
		answer, err := client.Do(request)
		fail(err)
		text, err := io.ReadAll(answer.Body)
		fail(err)
		answer.Body.Close()
		reason := answer.Header.Get("Exitgate-Reason")
		if reason == "" {
			reason = "-"
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
		issuer := answer.TLS.PeerCertificates[0].Issuer.CommonName
		fmt.Println(strings.Join([]string{fmt.Sprint(answer.StatusCode), reason, issuer, first}, "|"))
	}
}

func fail(err error) {
	if err != nil {
		fmt.Println("failed", err)
		os.Exit(1)
	}
}
