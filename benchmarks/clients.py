"""Clients of others against a running server, as a table.

  instructrec serve --model_dir=work/model --port=8000
  python benchmarks/clients.py --url=http://127.0.0.1:8000 --model=model

Each client that is installed is called unmodified: a request, and one that the
server refuses. It is best installed into an environment of its own:

  pip install cohere openai langchain-cohere infinity-client dify-plugin \
    llama-index-postprocessor-cohere-rerank \
    llama-index-postprocessor-tei-rerank \
    llama-index-postprocessor-jinaai-rerank langchain-community
"""

import argparse
import importlib.metadata
import importlib.util
import json
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable

QUERY = "a puzzle about the ocean"
TEXTS = ["A kite for the beach", "A puzzle of the ocean", "A robot to build"]
_KEY = "none"

Client = Callable[[str, str, list[str]], list[tuple[int, float]]]
"""From address, model and texts to places with scores, best first."""


def cohere_2(url: str, model: str, texts: list[str]) -> list[tuple[int, float]]:
  """ClientV2(base_url=).rerank."""
  import cohere

  found = cohere.ClientV2(_KEY, base_url=url).rerank(
    model=model, query=QUERY, documents=texts, top_n=2
  )
  return [(r.index, r.relevance_score) for r in found.results]


def cohere_1(url: str, model: str, texts: list[str]) -> list[tuple[int, float]]:
  """Client(base_url=).rerank, return_documents."""
  import cohere

  found = cohere.Client(_KEY, base_url=url).rerank(
    model=model, query=QUERY, documents=texts, return_documents=True
  )
  assert all(r.document.text == texts[r.index] for r in found.results)
  return [(r.index, r.relevance_score) for r in found.results]


def langchain_cohere(
  url: str, model: str, texts: list[str]
) -> list[tuple[int, float]]:
  """CohereRerank(base_url=).rerank."""
  import langchain_cohere as lc

  ranker = lc.CohereRerank(
    base_url=url, cohere_api_key=_KEY, model=model, top_n=2
  )
  found = ranker.rerank(texts, QUERY)
  return [(r["index"], r["relevance_score"]) for r in found]


def langchain_jina(
  url: str, model: str, texts: list[str]
) -> list[tuple[int, float]]:
  """JinaRerank.compress_documents, its address set to ours."""
  from langchain_community.document_compressors import jina_rerank
  from langchain_core import documents

  jina_rerank.JINA_API_URL = f"{url}/v1/rerank"  # It has no argument for it.
  ranker = jina_rerank.JinaRerank(jina_api_key=_KEY, model=model, top_n=2)
  given = [
    documents.Document(page_content=text, metadata={"place": place})
    for place, text in enumerate(texts)
  ]
  found = ranker.compress_documents(given, QUERY)
  return [
    (one.metadata["place"], one.metadata["relevance_score"]) for one in found
  ]


def _nodes(texts: list[str]) -> list:
  from llama_index.core import schema

  return [
    schema.NodeWithScore(node=schema.TextNode(text=text, id_=str(place)))
    for place, text in enumerate(texts)
  ]


def _places(nodes: list) -> list[tuple[int, float]]:
  return [(int(node.node.node_id), node.score) for node in nodes]


def llama_index_cohere(
  url: str, model: str, texts: list[str]
) -> list[tuple[int, float]]:
  """CohereRerank(base_url=).postprocess_nodes."""
  from llama_index.postprocessor.cohere_rerank import CohereRerank

  ranker = CohereRerank(api_key=_KEY, model=model, base_url=url, top_n=3)
  return _places(ranker.postprocess_nodes(_nodes(texts), query_str=QUERY))


def llama_index_tei(
  url: str, model: str, texts: list[str]
) -> list[tuple[int, float]]:
  """TextEmbeddingInference(base_url=).postprocess_nodes."""
  from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

  ranker = TextEmbeddingInference(base_url=url, top_n=3)
  return _places(ranker.postprocess_nodes(_nodes(texts), query_str=QUERY))


def llama_index_jina(
  url: str, model: str, texts: list[str]
) -> list[tuple[int, float]]:
  """JinaRerank, its address set to ours."""
  from llama_index.postprocessor.jinaai_rerank import JinaRerank

  ranker = JinaRerank(api_key=_KEY, model=model, base_url=f"{url}/v1", top_n=3)
  return _places(ranker.postprocess_nodes(_nodes(texts), query_str=QUERY))


def infinity(url: str, model: str, texts: list[str]) -> list[tuple[int, float]]:
  """api.default.rerank."""
  import infinity_client
  from infinity_client import models
  from infinity_client.api.default import rerank

  body = models.RerankInput(query=QUERY, documents=texts, model=model)
  found = rerank.sync(client=infinity_client.Client(base_url=url), body=body)
  return [(r.index, r.relevance_score) for r in found.results]


def dify(url: str, model: str, texts: list[str]) -> list[tuple[int, float]]:
  """OAICompatRerankModel; it stretches the scores to 0..1."""
  from dify_plugin.interfaces.model.openai_compatible import rerank

  ranker = rerank.OAICompatRerankModel([])
  found = ranker.invoke(
    model, {"endpoint_url": url, "api_key": _KEY}, QUERY, texts
  )
  return [(d.index, d.score) for d in found.docs]


def open_webui(
  url: str, model: str, texts: list[str]
) -> list[tuple[int, float]]:
  """Its external reranker's request, replayed: needs every document."""
  body = {
    "model": model,
    "query": QUERY,
    "documents": texts,
    "top_n": len(texts),
  }
  request = urllib.request.Request(
    f"{url}/v1/rerank",
    json.dumps(body).encode(),
    {
      "Content-Type": "application/json",
      "Authorization": f"Bearer {_KEY}",
      "X-OpenWebUI-User-Name": "somebody",
    },
  )
  with urllib.request.urlopen(request) as answer:
    results = json.load(answer)["results"]
  ordered = sorted(results, key=lambda r: r["index"])
  assert [r["index"] for r in ordered] == list(range(len(texts)))
  return [(r["index"], r["relevance_score"]) for r in results]


def openai_chat(
  url: str, model: str, texts: list[str]
) -> list[tuple[int, float]]:
  """OpenAI(base_url=).chat.completions.create, at once and as a stream."""
  import openai

  client = openai.OpenAI(base_url=f"{url}/v1", api_key=_KEY, max_retries=0)
  messages = [{"role": "user", "content": QUERY if texts else ""}]
  found = client.chat.completions.create(model=model, messages=messages)
  stream = client.chat.completions.create(
    model=model, messages=messages, stream=True
  )
  text = "".join(part.choices[0].delta.content or "" for part in stream)
  assert text == found.choices[0].message.content
  assert model in [listed.id for listed in client.models.list().data]
  results = found.model_extra["recommendation"]["results"]
  return [(place, one["score"]) for place, one in enumerate(results)]


# The package, the module that it has, and the client.
CLIENTS: list[tuple[str, str, Client]] = [
  ("cohere", "cohere", cohere_2),
  ("cohere", "cohere", cohere_1),
  ("langchain-cohere", "langchain_cohere", langchain_cohere),
  ("langchain-community", "langchain_community", langchain_jina),
  (
    "llama-index-postprocessor-cohere-rerank",
    "llama_index.postprocessor.cohere_rerank",
    llama_index_cohere,
  ),
  (
    "llama-index-postprocessor-tei-rerank",
    "llama_index.postprocessor.tei_rerank",
    llama_index_tei,
  ),
  (
    "llama-index-postprocessor-jinaai-rerank",
    "llama_index.postprocessor.jinaai_rerank",
    llama_index_jina,
  ),
  ("infinity-client", "infinity_client", infinity),
  ("dify-plugin", "dify_plugin", dify),
  ("openai", "openai", openai_chat),
  ("Open WebUI (its request)", "", open_webui),
]


def _installed(module: str) -> bool:
  try:
    return not module or importlib.util.find_spec(module) is not None
  except ModuleNotFoundError:
    return False


def row(
  package: str, client: Client, url: str, model: str, debug: bool
) -> list[str]:
  """What a client is, what it called, found, and how it fails."""
  name = (
    "" if package.startswith("Open") else importlib.metadata.version(package)
  )
  try:
    found = client(url, model, TEXTS)
    result = ", ".join(f"{place}: {score:.3f}" for place, score in found[:3])
  except Exception as error:
    if debug:
      traceback.print_exc()
    result = f"FAILED: {type(error).__name__}: {str(error)[:120]}"
  try:
    fails = f"none, found {client(url, 'no-such-model', TEXTS)}"
  except urllib.error.HTTPError as error:
    fails = f"HTTPError {error.code}"
  except Exception as error:
    body = getattr(error, "body", None)
    told = body.get("message") if isinstance(body, dict) else None
    message = " ".join((told or str(error)).split())
    fails = f"{type(error).__name__}: {message[:90]}"
  return [package, name, (client.__doc__ or "").rstrip("."), result, fails]


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--url", default="http://127.0.0.1:8000")
  parser.add_argument("--model", required=True)
  parser.add_argument("--only", default="")
  parser.add_argument("--debug", action="store_true")
  given = parser.parse_args()
  print("| client | version | call | result | another model's name |")
  print("|---|---|---|---|---|")
  for package, module, client in CLIENTS:
    if given.only not in client.__name__:
      continue
    if not _installed(module):
      print(f"| {package} | not installed | | | |")
      continue
    cells = row(package, client, given.url, given.model, given.debug)
    print(f"| {' | '.join(cell.replace('|', ' ') for cell in cells)} |")


if __name__ == "__main__":
  main()
