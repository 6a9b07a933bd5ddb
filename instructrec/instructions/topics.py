"""Which words of titles name a taste: themes, products, names; data.

A single word of a title is a taste where it is a theme ("dinosaur"), a product
("headset") or no ordinary word of English, and so most likely a name
("Skylanders"). Units, sizes, counts, packaging and the talk of shops never are.

`ordinary_words.txt` holds words of the public T5 vocabulary that stand in small
letters in English reviews.
"""

import functools
import importlib.resources

THEMES = frozenset(
  (
    # Creatures, real and otherwise.
    "alien angel animal bear bee bird bug bull bunny butterfly cat caterpillar "
    "chicken cow crocodile demon devil dinosaur dog dolphin dragon duck eagle "
    "elephant elf fairy fish fox frog ghost giant giraffe godzilla goblin "
    "hamster hedgehog hippo horse insect jellyfish kangaroo kitten ladybug lion "
    "lizard mermaid monkey monster mouse ninja octopus owl panda parrot "
    "penguin pet pig pony predator puppy rabbit raptor robot shark sheep skull "
    "snake spider squirrel tiger turtle unicorn vampire werewolf whale witch "
    "wizard wolf zebra zombie "
    # People and roles.
    "ballerina barber captain chef clown cowboy detective doctor fighter "
    "fireman gangster gladiator hunter jedi king knight mafia nurse pirate "
    "pilot police prince princess queen racer ranger samurai sniper soldier "
    "spy superhero thief viking warrior wrestler "
    # Places and times.
    "airport arctic castle circus city desert dungeon empire farm forest "
    "galaxy garden hospital island jungle kingdom kitchen lighthouse mansion "
    "medieval moon museum ocean palace planet prehistoric safari school sea "
    "space submarine underwater village volcano winter zoo christmas easter "
    "halloween wedding "
    # Vehicles and machines.
    "aircraft airplane bike boat bulldozer bus car crane excavator fire "
    "helicopter jet motorcycle plane quadcopter rocket ship starship tank "
    "tractor trailer train truck tugboat "
    # Pastimes, kinds of stories and of music.
    "adventure arcade baking baseball basketball bowling boxing camping "
    "carnival casino chess cooking crime cricket dance dancing driving fantasy "
    "fashion fighting fishing fitness flight football gardening golf gymnastics "
    "hockey horror hunting karaoke knitting magic military murder mystery "
    "painting pinball poker racing rhythm sailing simulator skateboard skating "
    "skiing snowboard soccer solitaire sports stealth strategy surfing survival "
    "swimming tennis treasure trivia war western wrestling yoga acoustic bass "
    "blues choir classical country disco folk gospel jazz metal opera orchestra "
    "music piano pop punk rap reggae rock soul swing symphony techno "
    # Manners of things.
    "bilingual educational electric foldable glow inflatable interactive "
    "magnetic mechanical miniature musical organic outdoor plush portable "
    "puppet rainbow rechargeable retro steampunk vegan vintage waterproof "
    "wireless wooden"
  ).split()
)
"""What things are about, or like: they stand before a noun."""
PRODUCTS = frozenset(
  (
    "accordion adapter alarm amplifier backpack balloon banjo basket battery "
    "bell bicycle blanket block bracelet brush bubble cable calculator camera "
    "candle capo charger clay cleanser clock conditioner console controller "
    "costume cream crayon cymbal deodorant dice doll dollhouse domino drone "
    "drum drumstick earring eyeliner eyeshadow flashlight flute fragrance "
    "gamepad glove glue guitar harmonica headphone headset helmet jigsaw "
    "joystick keyboard kite lamp lipstick loom lotion lunchbox marble marker "
    "mascara mask mat microphone microscope mirror moisturizer mouthwash "
    "necklace notebook paint pedal pencil perfume pillow playhouse playset "
    "pocketknife puzzle racket recorder ring robot saxophone scooter serum "
    "shampoo sled soap speaker sticker stroller sunscreen sword tambourine "
    "tattoo teapot telescope tent toothbrush toothpaste tricycle trampoline "
    "trumpet tuner ukulele violin wagon watch wig yo-yo"
  ).split()
)
"""Things themselves: they are the noun."""
HEADS = (
  frozenset(
    (
      "boot card case cover disc dock drive fan filter grip hub protector remote "
      "shoe skin stand station supply wheel book board clothes toy game film "
      "album movie tablet mouse car accessory"
    ).split()
  )
  | PRODUCTS
)
"""Last words of names of things: "memory card", "gaming mouse"."""
GEAR = PRODUCTS | frozenset(
  "card case charger cooler cord cover dock drive fan grip hub intercooler kit "
  "protector remote skin stand station stylus supply thumbstick wheel".split()
)
"""What is no game among games."""
SCRAPS = frozenset(
  (
    # Units, sizes, counts, packs.
    "ampere bag bottle box bulk bundle case centimeter count ct cup dozen each "
    "feet fit fits fl foot gal gallon gb gram grams inch inches jar kg kit lb "
    "lbs length liter litre mah mb meter milliliter ml mm ounce ounces oz pack "
    "packs packet pair pcs per piece pieces pint pound pounds qty quart refill "
    "set sets size sized sizes sheet sheets ton tube unit units volt watt width "
    "xl xxl yard years months ages "
    # Shops, versions, conditions.
    "available bonus brand brands certified code compatible content "
    "discontinued disc download dlc edition exclusive featuring generic gift "
    "import imported included includes including instant inc international "
    "licensed limited ltd llc manufacturer manufacturers model new newest oem "
    "official officially original packaging refurbished renewed replacement "
    "retail sealed season selects series shipping standard trademark upc us "
    "usa version vol volume warranty works assorted assortment styles vary "
    "color colors colour colours hits alone class select parts cut vs value specific "
    "half thicker gold remaster remastered hd definitive goty japan uk japanese "
    "european amazon collectibles collectors single multi pcs assortments "
    "adult adults kids boys girls mens womens wired stereo backlit amplified "
    "ambidextrous anti-slip pink/white tan caucasian rtf"
  ).split()
)
"""Units, sizes, counts, packaging and the talk of shops."""


@functools.cache
def ordinary() -> frozenset[str]:
  """Words that are no names, in small letters."""
  folder = importlib.resources.files("instructrec.instructions")
  text = (folder / "ordinary_words.txt").read_text(encoding="utf-8")
  return frozenset(text.split())
