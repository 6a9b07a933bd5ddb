"""What turns a wish around: the one table of cues that `wish_reader` goes by.

Phrases are written as `spoken.words` gives them: no case, no apostrophes
("don't" is `dont`, "what's" is `what`). The longest phrase counts.
"""

import enum
import re
from collections.abc import Mapping


class Cue(enum.Enum):
  """What a phrase does to the things named near it."""

  NEGATES = "what follows is not wanted"
  DISLIKES = "the same; under a negation it is wanted again"
  BACKWARD = "what was named just before is not wanted"
  NEXT_ONLY = "the very next thing is not wanted"
  LAST_ONLY = "the very last thing is not wanted"
  BAD = "what is said to be so is not wanted: is dull, makes me cry"
  AT_START = "as DISLIKES, where a clause begins"
  NEUTRAL = "sounds like a negation and is none"
  POSITIVE = "what follows is wanted, unless the phrase itself is negated"
  BREAKS = "what follows is said anew"


_TABLE: Mapping[Cue, str] = {
  Cue.NEGATES: """
    life beyond, something beyond, anything beyond, the opposite of, no, not
    never, without, w o, nor, neither, none, non, nothing, zero, sans, dont
    doesnt, didnt, isnt, arent, wasnt, werent, wont, wouldnt, cant, cannot
    couldnt, shouldnt, havent, hasnt, aint, no more, no longer, not a fan of
    no fan of, no thanks to, no need for, never mind, nothing to do with
    anything but, everything but, all but, something other than, other than
    anything except, except, except for, excepting, apart from, aside from
    rather than, instead of, in place of, excluding, minus, unlike
    as opposed to, and not, else than, else but, different from
    different than, something besides, anything besides
  """,
  Cue.DISLIKES: """
    moved on from, move on from, moving on from, switched from, switching from
    switch from, change from, hold off on, go easy on, easy on the
    cut down on, cut back on, fell asleep during, fall asleep during, hate
    hates, hated, hating, dislike, dislikes, disliked, detest, detests, loathe
    loathes, despise, despises, cant stand, cannot stand, cant bear
    cannot bear, cant take, cant abide, avoid, avoids, avoiding, skip, skips
    skipping, spare me, tired of, sick of, bored of, bored with, bored by
    weary of, fed up with, fed up of, wary of, afraid of, scared of
    had it with, done with, through with, im over, so over, am over
    finished with, enough of, had enough, have enough, got enough, own enough
    seen enough, has enough, thats enough, that enough, that is enough, less
    fewer, too many, too much, have plenty of, got plenty of, more than enough
    already have, already own, already got, already has, overdosed on
    drowning in, stay away from, keep away from, keeps away from, away from
    steer clear of, steering clear of, clear of, free of, leave out
    leaving out, leave off, rule out, cut out, cut the, hold the, drop the
    lose the, ditch, ban, banish, omit, exclude, excludes, remove, forget
    forget about, stop showing, stop suggesting, stop recommending, stop with
    stop sending, lay off, allergic to, averse to, opposed to, am against
    im against, say no to, last thing i want, last thing i need
    last thing we need, pass on, used to like, used to love, used to collect
    gone off, lost interest in, can do without, could do without, do without
    go without, regret, regretted, refuse, refuses, nobody wants, nobody needs
    swap, replace, burnt out on, burned out on, turned off by, put off by
    returned, outgrown, outgrew, grown out of, too old for, is over the
    are over the, vetoed, forbids, enough with, banned, no interest in
    no time for, no patience for, no use for, keep recommending
    keep suggesting, keep showing, keep sending, keep offering, keep getting
    seen every, played every, read every, watched every, own every, have every
    seen all, played all, read all, watched all, own all, have all the
    my fill of, our fill of, up to here with, a break from, a rest from
    a holiday from, a pause from, nothing involving, wont touch
    will not touch, never touch, keep me from, weaned off, grew out of
    growing out of, cured of, suspicious of, no room for, no love for
    little love for, not keen on, not into, not big on, not much for
    not one for, not in the mood for, dread, dreads, resent, resents
    filter out, get rid of, getting rid of
  """,
  Cue.BACKWARD: """
    to yourself, to yourselves, send it back, sending it back, sent it back
    return it, out of it, out of this, out this time, nay, no thanks
    no thank you, no thx, not for me, not for us, not my thing
    not my cup of tea, not my style, not my taste, isnt for me, arent for me
    isnt my thing, arent my thing, isnt for us, arent for us, not again
    never again, no way, nope, nah, not interested, not really, not so much
    not today, not this time, not now, bore me, bores me, bore us, bore him
    bore her, bores him, bores her, bored me, leave me cold, leaves me cold
    are out, is out, off the table, hard pass, ill pass, i pass, ugh, yuck
    meh, count me out, on my nerves, drive me crazy, drives me crazy
    drive me mad, drive me nuts, drives me nuts, annoy me, annoys me, get old
    gets old, got old, suck, sucks, dont appeal, doesnt appeal
    do nothing for me, does nothing for me, dont interest me
    doesnt interest me, not what i want, not wanted, not needed, unwanted
    not welcome, can wait, excluded, not included, aside, have to go
    had its day, have had their day, wont do, not allowed, are banned
    is banned, scare me, scares me, scare him, scare her, scares him
    scares her, out of the question, a no go, is a no, are a no
    dont do it for, doesnt do it for, used to be, hard no, big no, hell no
    absolutely not, definitely not, certainly not, of course not, been there
    done that, done to death, been there done that, put me off, puts me off
    turn me off, turns me off, a miss, a rest, a wide berth, a pass, the boot
    out of my ears, out of our ears, lose me, loses me, lost me, not for him
    not for her, not for them, isnt for him, isnt for her, not our thing
    not his thing, not her thing, not on the list, not on my list, off my list
    off the list, off the menu, to someone else, to somebody else, too soon
    unappealing, past it, wear thin, wears thin, worn thin, behind me
    behind us, wont be needed, not required, unnecessary
  """,
  Cue.NEXT_ONLY: "too",
  Cue.BAD: """
    anxious, furious, groan, miserable, scream, unhappy, a bore, a chore
    a headache, a joke, a nuisance, a pain, a waste, angry, annoying, awful
    babies, bad
    boring, childish, crap, creepy, cringe, cry, depressing, disappointing
    disappointment, disaster, dull, exhausting, garbage, gross, hell, hideous
    history, horrible, horrid, lame, last year, mad, nauseous, nightmares
    nonsense, nuts, old hat, old people, outdated, overdone, overrated, passe
    pointless, rubbish, sad, sick, silly, stressful, stupid, tedious, terrible
    the creeps, tiring, trash, ugly, unbearable, worst, yawn
  """,
  Cue.LAST_ONLY: "-free",
  Cue.AT_START: "enough",
  Cue.NEUTRAL: """
    in the spirit of, are out of stock, is out of stock
    without end, without fail, not only, not just, not merely, not simply
    nothing but, no problem, no problems, no problem with, no problems with
    no issue with, no issues with, no trouble with, no objection to
    no objections to, nothing against, nothing wrong with, nothing beats
    nothing better than, nothing like, nothing else, why not, or not, if not
    not to mention, no matter, no less, no wonder, no doubt, without doubt
    without a doubt, not sure, no idea, no clue, no rush, no hurry
    no preference, no worries, not bad, not to worry, dont worry, dont know
    dont care, dont hesitate, dont mind, doesnt mind, wouldnt mind
    would not mind, do not mind, never mind if, not fussy, not picky
    not choosy, cant decide, cant wait, cannot wait, cant get enough
    cannot get enough, cant get enough of, cannot get enough of
    never get enough of, never enough, not enough, never have enough
    never too many, never have too many, cant have too many
    never go wrong with, cant go wrong with, cannot go wrong with, never fail
    cant resist, cannot resist, couldnt resist, cant beat, cant live without
    cannot live without, could not live without, couldnt live without
    cant do without, cannot do without, dont have, dont own, havent got
    never had, never tried, never played, never seen, never owned, never read
    never watched, havent tried, havent played, havent seen, not long ago
    last but not least, not least, less than, not unlike, not yet
    no stranger to, dont get me wrong, do not get me wrong, never let me down
    never disappoint, never disappoints, never gets old, never get old
    who doesnt, who does not, who wouldnt, who would not, cant help
    cannot help, wouldnt hurt, would not hurt, not nearly enough, short of
    need not be, neednt be, no end of, no one beats, dont understand why
    dont see why not, isnt there, if you have no, if there is no, if theres no
    if you dont have, arent there, dont you have, havent you, dont you sell
    couldnt be happier, would you mind, do you mind, never stop, in mind
    keep in mind
  """,
  Cue.POSITIVE: """
    yay, want, wants, wanted, like, likes, liked, love, loves, loved, prefer
    prefers, prefer to, rather, give me, show me, find me, get me, bring me
    bring on, bring, recommend, suggest, looking for, searching for, hunting
    need, needs, wish, after, more, just, only, instead, fancy, enjoy, enjoys
    enjoyed, adore, adores, crave, craving, fond of, fan of, into, yes, lets
    let, ideally, preferably, make it, and with, keen on, mad about
    wild about, crazy about, obsessed with, in the mood for, mood for
    feel like, hoping for, would do, try, switch to, move to, otherwise
    definitely, maybe, perhaps, how about, what about, please show
    please find, would be, is fine, are fine, is great, are great, is ok
    are ok, is okay, are okay, is good, are good
  """,
  Cue.BREAKS: """
    but, however, although, though, yet, whereas, while, but also, but still
    but with, so please, then, on the other hand, except that, because
  """,
}

CONDITIONAL: Mapping[str, frozenset[str]] = {
  "than": frozenset(("rather", "sooner", "prefer", "prefers", "preferably")),
  "over": frozenset(
    ("prefer", "prefers", "pick", "take", "choose", "favour", "favor")
  ),
  "to": frozenset(("prefer", "prefers")),
}
"""Words that negate what follows where one of others came before them."""

UNIVERSAL = frozenset(
  "all any anybody anyone every everybody everyone everywhere".split()
)
"""Words that make "but" take something out: "any colour but pink"."""
JOINERS = frozenset(("or", "nor", "and"))
CONTINUES = JOINERS | frozenset(
  (
    "a about again all an any anymore anything at by covered ever either from "
    "full in kind kinds like of on other our please related set some sort "
    "sorts something stuff such style thanks that the their themed these "
    "thing things this those time today toy toys type types various your "
    "versions whatsoever with more another album albums book books film films "
    "game games item items movie movies"
  ).split()
)
"""Words between two things that are turned around together."""
ENDS = frozenset(
  (
    "am are as be been being can could did do does for go had has have he her "
    "him his i id if ill im is it its ive me mine my now she should so they "
    "theyre to was we were when where which who whom will would you"
  ).split()
)
"""Words that end a negation whose thing was named."""
LINKS = frozenset(
  (
    "are be been became become bring brings feel feels felt gave get gets give "
    "gives got is look looks made make makes seem seems sound sounds was were"
  ).split()
)
"""Words that say of a thing what it is or does."""
AUXILIARIES = frozenset(
  (
    "am are be been can could did do does had has have is just may might "
    "really simply was were will"
  ).split()
)
"""Words between a thing and what is denied of it."""
FILLERS = frozenset(
  (
    "again all and any anymore anyway at ever for forever honestly i im it me "
    "more now of one ones personally please really simply sorry thank "
    "thanks that the them these they this those to today too us we you"
  ).split()
)
"""Words that may stand beside a cue whose thing was named before."""
MISSPELT = (
  "anything",
  "avoid",
  "dislike",
  "enough",
  "everything",
  "except",
  "instead",
  "never",
  "nothing",
  "rather",
  "spare",
  "tired",
  "without",
)
"""Words of cues that are read with a letter wrong; the shorter ones are not."""
NAMES_FOLLOW = (
  "like",
  "in the spirit of",
  "similar to",
  "enjoyed",
  "loved",
  "liked",
  "after",
)
"""A quotation behind these is a title."""
ORDINARY = frozenset(
  (
    "about above active adult adults after afternoon again against allowed "
    "almost along already always amount another anyone around aunt autumn "
    "basically because before better between bigger birthday bored boring "
    "bought boyfriend bring brother buying cannot challenging cheap cheaper "
    "child children clean clear clever close color colors colour costs could "
    "couple cousin cover daughter decent different dollars dozen early easier "
    "either enjoy euros evening every excited exciting expect father favorite "
    "favourite feels finally finds finish finished first floor found fresh "
    "friend friends front fully gifts girlfriend given gives going grand "
    "grandma grandpa grandson great guess hands happy harder having heard "
    "heavy hello helps holiday holidays hours house houses husband ideas "
    "interesting kinda known knows large larger later laugh learn learned "
    "learning least leave light liked likes listen local longer looked "
    "looking looks loved lovely loves makes maybe means might minds minute "
    "minutes modern moment money month months morning mother myself nearly "
    "needed needs nephew never nicer niece night nothing office often older "
    "order other owned owner parents party people perhaps person persons "
    "pieces place plain played player playing plays please plenty point "
    "popular possibly pounds prefer present presents pretty price priced "
    "prices problem quality quick quiet quite rather reading reads ready "
    "really reason recent recently relaxing right round season second seems "
    "sense serious several share sharp sheet short shorter should similar "
    "simple since sister sixth sleep small smaller smart solid solve somebody "
    "someone sorry sound spare special spend stand start started starts stays "
    "still store strong stuck stuff suggest surprise takes talks taste tells "
    "thank thanks their theme there these thick thing things think thinking "
    "those though thought three throw tight times tired today toddler tonight "
    "total touch tough tried trips trust turned turns uncle under until using "
    "usual vacation visit wanna wants watch watched weekend weeks whatever "
    "whenever where which while white whole without woman wonder woods words "
    "worked works world worry worth would write writes wrong years young "
    "younger yours yourself"
  ).split()
)
"""Words of wishes that are no attributes and no misspellings."""
SPELT_RIGHT = ORDINARY | frozenset(
  (
    "babies chair christmas classic family garden heart hobbies hobby horse "
    "horses kitchen mouse school series skill space spring story summer table "
    "teacher train trains travel water winter"
  ).split()
)
"""Words of wishes that are no misspellings."""


def _compile() -> dict[tuple[str, ...], Cue]:
  found: dict[tuple[str, ...], Cue] = {}
  for cue, text in _TABLE.items():
    for phrase in re.split(r"[,\n]", text):
      words = tuple(phrase.split())
      if words and found.setdefault(words, cue) is not cue:
        raise ValueError(f"cue {phrase.strip()!r} stands in two rows")
  return found


CUES = _compile()
LONGEST = max(map(len, CUES))
WORDS = frozenset(word for phrase in CUES for word in phrase)
