"""A small study in a store: a sentiment classifier, zero-shot against few-shot, at temperatures 0 and 0.8, answered
by a character model that has read labels."""

from ngram_engine import NGramEngine

import toolkit as tk

POOL = [
    {"review": "The plot dragged.", "sentiment": "negative"},
    {"review": "A joy to the end.", "sentiment": "positive"},
    {"review": "Broken after two days.", "sentiment": "negative"},
    {"review": "Fast, and it works.", "sentiment": "positive"},
    {"review": "Nothing special.", "sentiment": "neutral"},
]
ROWS = [
    {"review": "The battery lasts two days.", "expected": "positive", "price": 129.99, "stars": 5},
    {"review": "I waited an hour for cold soup.", "expected": "negative", "price": 12.3456, "stars": None},
    {"review": "It does what the box says.", "expected": "neutral", "price": None, "stars": 3},
    {
        "review": "Support never answered my letters. " * 6,
        "expected": "negative",
        "price": 0.00012345,
        "stars": 1,
    },
]
PROMPT = tk.Prompt(
    "Review: {review}\nSentiment:",
    system="Classify the sentiment of the review.",
    examples=POOL,
    answer="{sentiment}",
    name="sentiment",
)
LABELS = {"positive": 3, "negative": 2, "neutral": 1}
CELLS = (tk.grid(k=0) + tk.grid(k=[2, 4], selector=["balanced", "similar"])) * (
    tk.grid(temperature=0) + tk.grid(temperature=0.8, seed=range(3))
)


def labelling_engine(order=12):
    """Continues a review's last line with a label: the likelier, the more often it has read it."""
    texts = [PROMPT.system, *(example["review"] for example in (*POOL, *ROWS))]
    read = [f"Sentiment:\n{label}" for label, n in LABELS.items() for _ in range(200 * n)]
    return NGramEngine("\n\n".join(["\n".join([*texts, "Review: "]), *read]), order)


def run_study(path, engine=None):
    """The results of the study, which are stored in a file."""
    cells = CELLS * tk.grid(max_tokens=12, logprobs=True, top_logprobs=3)
    return tk.sweep(PROMPT, ROWS, cells).run(engine or labelling_engine(), path)
