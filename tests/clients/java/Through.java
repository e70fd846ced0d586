import java.net.InetSocketAddress;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.security.cert.X509Certificate;
import java.time.Duration;

/**
 * java.net.http as JAVA_TOOL_OPTIONS says (trust store) through the proxy of HTTPS_PROXY: VERSION METHOD URL... gives a
 * line per request: status, reason of a refusal, the issuer of the certificate seen, body.
 */
public class Through {
    public static void main(String[] words) throws Exception {
        URI proxy = URI.create(System.getenv("HTTPS_PROXY"));
        HttpClient client = HttpClient.newBuilder()
            .version(words[0].equals("2") ? HttpClient.Version.HTTP_2 : HttpClient.Version.HTTP_1_1)
            .proxy(ProxySelector.of(new InetSocketAddress(proxy.getHost(), proxy.getPort())))
            .connectTimeout(Duration.ofSeconds(20))
            .build();
        for (int at = 1; at < words.length; at += 2) {
            HttpRequest.BodyPublisher body = words[at].equals("POST")
                ? HttpRequest.BodyPublishers.ofString("sent")
                : HttpRequest.BodyPublishers.noBody();
            HttpRequest request = HttpRequest.newBuilder(URI.create(words[at + 1]))
                .timeout(Duration.ofSeconds(20))
                .method(words[at], body)
                .build();
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            X509Certificate seen = (X509Certificate) answer.sslSession().get().getPeerCertificates()[0];
            System.out.println(String.join("|",
                Integer.toString(answer.statusCode()),
                answer.headers().firstValue("exitgate-reason").orElse("-"),
                seen.getIssuerX500Principal().getName(),
                answer.body().strip().split("\n")[0]));
        }
    }
}
