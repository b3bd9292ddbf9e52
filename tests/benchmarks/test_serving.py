"""The benchmark of the server runs, and loses no answer; how fast it is, is its own to say."""

import json

from benchmarks.serving import main


def test_all_requests_are_answered_as_if_alone(capsys):
    main(["--requests", "3", "--repeats", "1", "--soak", "2", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["lost"] == 0
    assert found["speedup"] > 0
    assert found.keys() >= {"lowest", "highest", "answers_s", "soak", "rss_200", "rss"}
