"""All SQL that reads completions."""

from __future__ import annotations

COMPLETION_COLUMNS = (
    "request, fingerprint, repeat, choice, id, run, position, created, seconds, first_token_seconds, "
    "prompt_tokens, completion_tokens, cached_tokens, finish_reason, stop_reason, text, prompt, notes, "
    "tool_calls, queued_seconds"
)
SAME_RUN_FINGERPRINTS = (
    "(SELECT b.fingerprint FROM took a JOIN took b ON a.run = b.run WHERE a.fingerprint IN ({}))"
)
"""The fingerprints that took part in a run with these. Several systems may answer in turn behind one address: a
request that one of them has answered is not sent again. Each row keeps the fingerprint of the one that answered."""
_FINGERPRINTS = "SELECT value FROM json_each(?1)"
_PEERS = SAME_RUN_FINGERPRINTS.format(_FINGERPRINTS)
BELONGS_TO = f"({{0}}.fingerprint IN ({_FINGERPRINTS}) OR {{0}}.fingerprint IN {_PEERS})"
"""Condition that a row has one of the fingerprints ?1 (a JSON list), or one that took part in a run with them."""
COMPLETION_TIMINGS = """
SELECT request, completions.fingerprint AS system_fingerprint, repeat, min(prompt_tokens) AS prompt_tokens,
       min(cached_tokens) AS cached_tokens, sum(completion_tokens) AS completion_tokens,
       min(completions.seconds) AS seconds,
       min(first_token_seconds) AS first_token_seconds, min(completions.created) AS created,
       min(runs.joules / runs.seconds) AS watts
FROM completions LEFT JOIN runs ON runs.id = run
WHERE choice >= 0 AND completions.fingerprint IN (SELECT value FROM json_each(?))
GROUP BY request, completions.fingerprint, repeat
"""
STORED_REPEATS = f"SELECT request, repeat FROM completions x WHERE {BELONGS_TO.format('x')} AND choice = 0"
NEWEST_GRADES = """
SELECT request, fingerprint, repeat, choice, thumb, score, note, created FROM grades
WHERE number IN (SELECT max(number) FROM grades GROUP BY request, fingerprint, repeat, choice)
"""
COMPLETED_ROWS = f"""
SELECT cells.sweep, cells.position AS cell, cells.labels, x.request, x.fingerprint AS system_fingerprint,
       x.repeat, x.choice, x.text, x.finish_reason, NULL AS error, x.stop_reason, x.prompt_tokens,
       x.completion_tokens, x.cached_tokens, x.seconds, x.queued_seconds, x.first_token_seconds, x.run, x.position,
       x.created
FROM completions x JOIN cells ON cells.request = x.request
  AND x.repeat >= cells.first AND x.repeat < cells.first + cells.repeats
WHERE (?2 IS NULL OR cells.sweep = ?2) AND (?1 IS NULL OR {BELONGS_TO.format("x")}) AND x.choice >= 0
"""
# The tokens are those of the last attempt, the one with the greatest `created`; how many of its prompt were cached is
# not recorded.
FAILED_ROWS = f"""
SELECT cells.sweep, cells.position, cells.labels, x.request, x.fingerprint, x.repeat, 0, '', 'error', x.error,
       NULL, x.prompt_tokens, x.completion_tokens, iif(x.prompt_tokens = 0, 0, NULL), NULL, NULL, NULL, x.run, NULL,
       max(x.created)
FROM failures x JOIN cells ON cells.request = x.request
  AND x.repeat >= cells.first AND x.repeat < cells.first + cells.repeats
WHERE (?2 IS NULL OR cells.sweep = ?2) AND (?1 IS NULL OR {BELONGS_TO.format("x")}) AND NOT EXISTS (
    SELECT 1 FROM completions c WHERE c.request = x.request AND c.repeat = x.repeat AND (
        c.fingerprint = x.fingerprint OR c.fingerprint IN {SAME_RUN_FINGERPRINTS.format("x.fingerprint")}
        OR (?1 IS NOT NULL AND {BELONGS_TO.format("c")})))
GROUP BY cells.sweep, cells.position, x.request, x.fingerprint, x.repeat
"""
FAILED_ATTEMPTS = """
SELECT r.sweep, x.request, x.fingerprint AS system_fingerprint, x.repeat, count(*) AS attempts,
       iif(count(x.prompt_tokens) = count(*), sum(x.prompt_tokens), NULL) AS prompt_tokens,
       iif(count(x.completion_tokens) = count(*), sum(x.completion_tokens), NULL) AS completion_tokens
FROM failures x JOIN runs r ON r.id = x.run
GROUP BY r.sweep, x.request, x.fingerprint, x.repeat
"""
LOST_ATTEMPTS = """
SELECT r.sweep, l.request, r.fingerprint AS system_fingerprint, l.repeat, count(*) AS lost, NOT EXISTS (
    SELECT 1 FROM completions c WHERE (c.request, c.fingerprint, c.repeat) = (l.request, r.fingerprint, l.repeat)
) AS pending
FROM leases l JOIN runs r ON r.id = l.run WHERE r.id NOT IN (SELECT value FROM json_each(?))
GROUP BY r.sweep, l.request, r.fingerprint, l.repeat
"""
PEER_FINGERPRINTS = """
SELECT DISTINCT b.fingerprint FROM took a JOIN took b ON a.run = b.run
WHERE a.fingerprint IN (SELECT fingerprint FROM took WHERE run = ?)
"""
"""The fingerprints of a run, and those that took part in a run with them."""
TOOL_CALLS = """
SELECT request, fingerprint, repeat, choice, tool_calls FROM completions WHERE tool_calls IS NOT NULL
"""
TOKEN_IDS = """
SELECT request, fingerprint, repeat, choice, token_ids
FROM completions JOIN arrays ON completion = number WHERE request IN (SELECT value FROM json_each(?))
"""
