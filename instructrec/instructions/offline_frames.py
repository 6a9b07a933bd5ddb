"""The sentences of the offline teacher; data.

{a}, {b} and {h} are things: "board games", "films from the 1990s". {did} and
{do} are what people do with them: watched and watch, bought and buy.
"""

from collections.abc import Mapping

PREFERENCES = (
  "This person mostly goes for {a}, with some {b} in between.",
  "They mostly {do} {a}, and now and then {b}.",
  "A fan of {a}, with an eye for {b}.",
  "Their choices lean towards {a}, followed by {b}.",
  "They look for {a} first and like {b} too.",
  "What they {do} revolves around {a} and, now and then, {b}.",
  "They keep coming back to {a} and enjoy {b} as well.",
  "Their taste runs to {a}, and lately also to {b}.",
)
PREFERENCES_ONE = (
  "This person mostly goes for {a}.",
  "They keep coming back to {a}.",
  "Most of what they {do} is {a}.",
  "Their taste runs to {a}.",
)
ANYTHING = ("They {do} all sorts of {many}, without a clear favourite.",)
LIKES = (
  "They like to see {a}.",
  "They care for {a}.",
  "They set store by {a}.",
)
DISLIKES = (
  "They complain where {a} is missing.",
  "They miss {a} where there is none.",
)
PRICES = (
  "They watch the price.",
  "They pay a middling price.",
  "They do not mind paying more.",
)
OWN: Mapping[tuple[str, ...], tuple[str, ...]] = {
  PREFERENCES: (
    "I mostly go for {a}, with some {b} in between.",
    "I mostly {do} {a}, and now and then {b}.",
    "I am a fan of {a}, with an eye for {b}.",
    "My choices lean towards {a}, followed by {b}.",
    "I look for {a} first and like {b} too.",
    "What I {do} revolves around {a} and, now and then, {b}.",
    "I keep coming back to {a} and enjoy {b} as well.",
    "My taste runs to {a}, and lately also to {b}.",
  ),
  PREFERENCES_ONE: (
    "I mostly go for {a}.",
    "I keep coming back to {a}.",
    "Most of what I {do} is {a}.",
    "My taste runs to {a}.",
  ),
  ANYTHING: ("I {do} all sorts of {many}, without a clear favourite.",),
  LIKES: (
    "I like to see {a}.",
    "I care for {a}.",
    "I set store by {a}.",
  ),
  DISLIKES: (
    "I complain where {a} is missing.",
    "I miss {a} where there is none.",
  ),
  PRICES: (
    "I watch the price.",
    "I pay a middling price.",
    "I do not mind paying more.",
  ),
}
"""The same sentences in the first person."""
VAGUE = (
  "I am in the mood for {a}.",
  "I would like more {a}.",
  "Some {a} would be nice.",
  "I feel like {a} again, and perhaps {b}.",
  "I want something for people who enjoy {a} and {b}.",
  "Show me {a}, please.",
  "I am after {a}, or something close to {b}.",
  "What do you have for somebody who is fond of {a}?",
)
VAGUE_ASPECT = (
  "I would like {a}, with {aspect}.",
  "What I look for is {aspect}, best of all in {a}.",
  "Some {a} would be nice, as long as there is {aspect}.",
)
GIFT = (
  "I am looking for a present for my {who}, who likes {a}.",
  "My {who} would enjoy {a}.",
  "I need a gift for my {who}, {a} perhaps.",
)
SECOND = (
  "Having liked {h}, I now wish for {a}.",
  "I know {h} well; this time I want {a}.",
  "After {h}, I would welcome {a}.",
  "I usually {do} {h}, and now {a} would suit me.",
  "People with a weakness for {h}, like me, want {a} next.",
)
SPECIFIC = (
  "{parts}.",
  "I am looking for {parts}.",
  "Do you have {parts}?",
  "Show me {parts}.",
  "Please find {parts}.",
  "I want to {do} {parts}.",
)
LAST_RESORTS: Mapping[str, tuple[str, str]] = {
  "P2": ("They take whatever comes along.", "Their choices follow no rule."),
  "P2_own": ("I take whatever comes along.", "My choices follow no rule."),
  **dict.fromkeys(
    ("I1", "I1*", "I2"),
    ("Please surprise me with anything.", "Whatever you like will do."),
  ),
}
"""Said where all else says the title, by kind of text: no title of two words
is in both."""
QUALITIES = (", not too expensive", ", medium priced", ", top quality")
