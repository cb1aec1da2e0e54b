"""Images in prompts: what both engines promise. A random-weight LLaVA on real vLLM, and a simulated one of its size."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from cluster.spec.model_parts.media_spec import MediaSpec
from tests.engine_contract.contract_models import MAX_TOKENS, SIM, VLLM
from tests.engine_contract.pictures import BLUE, RED, PictureServer, chat_about, inline, png
from tests.engine_contract.served_engine import NEEDS_TORCHVISION, ServedEngine
from tests.engine_contract.vision_model import IMAGE_TOKENS, build
from tests.free_ports import free_port
from tests.integration.cluster.command import RACKSERVE, Command

CHAT = "/v1/chat/completions"
MAX_ITEMS = 3
COUNTED_APART = ("cache_read_input_tokens", "cache_creation_input_tokens")
HOSTS = {"pictures.test": "127.0.0.1", "private.test": "10.0.0.1"}


VLLM_MARKS = [pytest.mark.vllm, pytest.mark.long, pytest.mark.timeout(600), NEEDS_TORCHVISION]


@dataclass
class SeeingEngine:
    """An engine whose model sees.

    Attributes:
        engine: the engine.
        pictures: a server that it may ask, as `pictures.test`.
    """

    engine: ServedEngine
    pictures: PictureServer

    def ask(self, *urls: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
        """Return the answer to a chat with images."""
        return self.engine.ok(CHAT, messages=chat_about(*urls, **more), max_tokens=8)

    def tokens(self, *urls: str) -> int:
        """Return the prompt tokens of a chat with images."""
        return int(self.ask(*urls)["usage"]["prompt_tokens"])

    def refusal(self, *urls: str) -> str:
        """Return why a chat with images is refused with 400."""
        response = self.engine.post(CHAT, {"model": self.engine.model.name, "messages": chat_about(*urls)})
        assert response.status_code == 400, response.text
        error = response.json()["error"]
        assert error["code"] == 400
        return str(error["message"])


def said(answer: dict[str, Any]) -> str:
    """Return an answer's text."""
    return str(answer["choices"][0]["message"]["content"])


def cached(answer: dict[str, Any]) -> int:
    """Return how many of an answer's prompt tokens were cached."""
    return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])


@pytest.fixture(
    params=["sim", pytest.param("vllm", marks=VLLM_MARKS)],
    scope="module",
)
def seeing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeeingEngine]:
    """An engine whose model sees; it may fetch from `pictures.test`, and from a name with a private address."""
    folder = tmp_path_factory.mktemp("seeing")
    with PictureServer() as pictures:
        domains = tuple(f"{host}:{pictures.port}" for host in HOSTS)
        media = MediaSpec(domains=domains, max_bytes=4000, max_items=MAX_ITEMS)
        if request.param == "sim":
            model = SIM.model_copy(
                update={"media": media, "sim": SIM.sim.model_copy(update={"image_tokens": IMAGE_TOKENS})}
            )
        else:
            arguments = {
                "dtype": "float32",
                "max_model_len": MAX_TOKENS,
                "num_gpu_blocks_override": VLLM.engine_args["num_gpu_blocks_override"],
                "kv_cache_memory_bytes": 256 << 20,
            }
            source = str(build(folder / "llava"))
            model = VLLM.model_copy(update={"media": media, "source": source, "engine_args": arguments})
        served = ServedEngine(model, folder / "seeing.log", hosts=HOSTS)
        try:
            yield SeeingEngine(served.wait_ready(), pictures)
        finally:
            served.close()


def test_an_image_takes_its_tokens(seeing: SeeingEngine) -> None:
    """Each image as many as its model gives it, also the same one twice."""
    text = seeing.tokens()
    red = inline(png(RED))
    assert seeing.tokens(red) - text == pytest.approx(IMAGE_TOKENS, abs=2)
    assert seeing.tokens(red, red) - text == pytest.approx(2 * IMAGE_TOKENS, abs=3)


def test_the_answer_depends_on_the_image(seeing: SeeingEngine) -> None:
    """Another colour, another answer; the same colour, the same."""
    red, blue = (said(seeing.ask(inline(png(colour)))) for colour in (RED, BLUE))
    assert red != blue
    assert said(seeing.ask(inline(png(RED)))) == red


def test_a_repeated_image_is_cached(seeing: SeeingEngine) -> None:
    """The blocks of its tokens too; those of another image in its place are not taken for them."""
    lead = "Look closely at the picture that follows, and tell me what you see."
    seeing.ask(inline(png(RED)), text=lead)
    assert cached(seeing.ask(inline(png(RED)), text=lead)) >= IMAGE_TOKENS
    assert cached(seeing.ask(inline(png(BLUE)), text=lead)) < IMAGE_TOKENS


def test_replicas_say_which_images_they_hold(seeing: SeeingEngine) -> None:
    """What gateways look up of a prompt with an image is there after that image alone."""
    lead = "Once more: look closely at the picture that follows, and tell me all that you see in it."
    body = {"messages": chat_about(inline(png(RED)), text=lead), "max_tokens": 1}
    before = seeing.engine.claims(CHAT, body)
    seeing.engine.ok(CHAT, **body)
    after = seeing.engine.claims(CHAT, body)
    assert after["tokens"] > before["tokens"], (before, after)


def test_an_image_comes_from_an_allowed_host(seeing: SeeingEngine) -> None:
    """By URL it is the same image as inline."""
    url = f"http://pictures.test:{seeing.pictures.port}/blue.png"
    assert said(seeing.ask(url)) == said(seeing.ask(inline(png(BLUE))))


def test_other_hosts_are_refused(seeing: SeeingEngine) -> None:
    """With 400: a host that the file does not allow, whatever it is, and an allowed one with a private address."""
    port = seeing.pictures.port
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", "elsewhere.test", f"pictures.test.evil:{port}"):
        message = seeing.refusal(f"http://{host}/red.png")
        assert "media.domains of the model 'contract-model'" in message
        assert "data:" in message
    assert "not public" in seeing.refusal(f"http://private.test:{port}/red.png")


def test_files_are_never_read(seeing: SeeingEngine) -> None:
    """Nor anything else that is not http."""
    assert "not as file: URLs" in seeing.refusal("file:///etc/hostname")
    assert "not as ftp: URLs" in seeing.refusal("ftp://pictures.test/red.png")


def test_what_is_too_much_is_refused(seeing: SeeingEngine) -> None:
    """Bytes of an image, and images of a prompt."""
    assert "media.max_bytes = 4000" in seeing.refusal(inline(png(RED) + bytes(5000)))
    assert f"At most {MAX_ITEMS} image(s)" in seeing.refusal(*[inline(png(RED))] * (MAX_ITEMS + 1))


def test_what_is_no_image_is_refused(seeing: SeeingEngine) -> None:
    """Inline, and when its server does not have it."""
    assert "image" in seeing.refusal(inline(b"no image at all"))
    assert "404" in seeing.refusal(f"http://pictures.test:{seeing.pictures.port}/green.png")


def test_other_apis_take_images(seeing: SeeingEngine) -> None:
    """In their own forms, with the same number of tokens."""
    data = inline(png(RED)).partition(",")[2]
    source = {"type": "base64", "media_type": "image/png", "data": data}
    parts: list[dict[str, Any]] = [{"type": "text", "text": "What is it?"}, {"type": "image", "source": source}]
    message = seeing.engine.ok("/v1/messages", messages=[{"role": "user", "content": parts}], max_tokens=2)
    usage = message["usage"]
    read = sum(usage.get(name) or 0 for name in ("input_tokens", *COUNTED_APART))
    parts = [{"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": inline(png(RED))}]
    response = seeing.engine.ok("/v1/responses", input=[{"role": "user", "content": parts}], max_output_tokens=2)
    expected = seeing.tokens(inline(png(RED)))
    assert response["usage"]["input_tokens"] == pytest.approx(expected, abs=2)
    assert read == pytest.approx(expected, abs=2)


def test_a_gateway_passes_images_on(seeing: SeeingEngine) -> None:
    """Whole, and with what the engine says of them: its answers, its cache and its refusals."""
    ports = free_port(), free_port()
    listen = ["--host", "127.0.0.1", "--port", str(ports[0]), "--admin-port", str(ports[1])]
    with Command(RACKSERVE, "gateway", *listen, "--replica", seeing.engine.url) as command:
        command.wait_for_line("READY ")

        def asked(url: str) -> httpx.Response:
            lead = "Through the gateway now: look closely at the picture that follows, and say what it shows."
            body = {"model": seeing.engine.model.name, "temperature": 0, "max_tokens": 8}
            body |= {"messages": chat_about(url, text=lead)}
            return httpx.post(f"http://127.0.0.1:{ports[0]}{CHAT}", json=body, timeout=60)

        red, blue = (asked(inline(png(colour))).json() for colour in (RED, BLUE))
        again = asked(inline(png(RED))).json()
        assert said(red) == said(again) != said(blue)
        assert cached(blue) < IMAGE_TOKENS <= cached(again)
        refused = asked(f"http://127.0.0.1:{seeing.pictures.port}/red.png")
        assert refused.status_code == 400
        assert "media.domains" in refused.json()["error"]["message"]
        allowed = asked(f"http://pictures.test:{seeing.pictures.port}/red.png").json()
        assert said(allowed) == said(red)
