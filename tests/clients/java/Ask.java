import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.List;

/** The JDK's own client with its defaults: it offers `Upgrade: h2c` with every request. */
public class Ask {
    public static void main(String[] args) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        String base = System.getenv("BASE_URL");
        String body = "{\"model\": \"" + System.getenv("MODEL") + "\", \"stream\": %s, \"max_tokens\": 5, "
            + "\"messages\": [{\"role\": \"user\", \"content\": \"What is the capital of France?\"}]}";
        for (String stream : List.of("false", "true")) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(base + "/chat/completions"))
                .header("content-type", "application/json")
                .header("authorization", "Bearer " + System.getenv("API_KEY"))
                .POST(HttpRequest.BodyPublishers.ofString(String.format(body, stream)))
                .build();
            var answer = client.send(request, BodyHandlers.ofString());
            check(answer.statusCode() == 200, answer.statusCode() + " " + answer.body());
            check(answer.body().contains(stream.equals("true") ? "data: [DONE]" : "\"choices\""), answer.body());
        }
        HttpRequest list = HttpRequest.newBuilder(URI.create(base + "/models"))
            .header("authorization", "Bearer " + System.getenv("API_KEY")).build();
        check(client.send(list, BodyHandlers.ofString()).statusCode() == 200, "GET /v1/models");
    }

    private static void check(boolean right, String said) {
        if (!right) {
            throw new AssertionError(said);
        }
    }
}
