"""Made-up catalogues whose titles are as shops write them."""

import dataclasses

import polars as pl

from instructrec.data import candidates, catalog, dataset, interaction, splits

BEAUTY = (
  ("Velmora Rose Hydrating Face Lotion, 8 Ounce", "Skin Care > Face > Creams & Moisturizers", "Velmora", 14.5),
  ("Velmora Aloe Soothing Body Lotion, 16 fl oz (Pack of 2)", "Skin Care > Body > Moisturizers", "Velmora", 18.0),
  ("Velmora Lavender Hand Lotion 3 oz Travel Size", "Skin Care > Hands & Nails", "Velmora", 6.0),
  ("Velmora Cucumber Eye Gel, 0.5 Ounce", "Skin Care > Eyes", "Velmora", 21.0),
  ("Velmora Rose Water Facial Toner 12 Ounce", "Skin Care > Face > Toners", "Velmora", 11.0),
  ("Okira Charcoal Peel-Off Mask, 4.2 Ounce Tube", "Skin Care > Face > Treatments & Masks", "Okira", 9.9),
  ("Okira Green Tea Sheet Mask, 10 Count", "Skin Care > Face > Treatments & Masks", "Okira", 15.0),
  ("Okira Rose Clay Mask 6 Ounce Jar", "Skin Care > Face > Treatments & Masks", "Okira", 17.0),
  ("Okira Vitamin C Serum 1 oz", "Skin Care > Face > Treatments & Masks", "Okira", 24.0),
  ("Okira Tea Tree Face Wash, 8 Ounce (Pack of 3)", "Skin Care > Face > Cleansers", "Okira", 19.0),
  ("Thistledown Baby Soft Body Wash 32 Ounce Value Size", "Bath & Body > Cleansers", "Thistledown", 12.0),
  ("Thistledown Oatmeal Bar Soap, 4 Ounce, 6 Count", "Bath & Body > Cleansers", "Thistledown", 10.0),
  ("Thistledown Lavender Bath Salts 3 Pound Bag", "Bath & Body > Bath", "Thistledown", 13.0),
  ("Thistledown Lavender Bubble Bath, 1 Gallon", "Bath & Body > Bath", "Thistledown", 16.0),
  ("Thistledown Shea Butter Body Scrub, 10 Ounce", "Bath & Body > Scrubs & Body Treatments", "Thistledown", 12.5),
  ("Garnique Argan Oil Shampoo, 13.5 Fl Oz", "Hair Care > Shampoos", "Garnique", 8.0),
  ("Garnique Argan Oil Conditioner, 13.5 Fl Oz", "Hair Care > Conditioners", "Garnique", 8.0),
  ("Garnique Coconut Shampoo and Conditioner Set, 2 Count", "Hair Care > Shampoos", "Garnique", 15.0),
  ("Garnique Curl Defining Cream 5 oz Tube", "Hair Care > Styling Products", "Garnique", 9.0),
  ("Garnique Dry Shampoo Spray, 5 Ounce, 3-Pack", "Hair Care > Shampoos", "Garnique", 20.0),
  ("Solenne Ionic Hair Dryer 1875 Watt, Black", "Hair Care > Styling Tools", "Solenne", 39.0),
  ("Solenne Ceramic Flat Iron 1 Inch", "Hair Care > Styling Tools", "Solenne", 45.0),
  ("Solenne Tourmaline Curling Iron 1.5 Inch, 2 Piece Set", "Hair Care > Styling Tools", "Solenne", 42.0),
  ("Solenne Boar Bristle Hair Brush Large", "Hair Care > Styling Tools", "Solenne", 18.0),
  ("Solenne Detangling Brush Pack of 2", "Hair Care > Styling Tools", "Solenne", 12.0),
  ("Bijou Noir Volume Mascara Black 0.3 Ounce", "Makeup > Eyes > Mascara", "Bijou Noir", 9.0),
  ("Bijou Noir Waterproof Mascara Brown, 2 Count", "Makeup > Eyes > Mascara", "Bijou Noir", 13.0),
  ("Bijou Noir Liquid Eyeliner Pen 0.05 oz", "Makeup > Eyes > Eyeliner", "Bijou Noir", 7.0),
  ("Bijou Noir Smoky Eye Shadow Palette 12 Colors", "Makeup > Eyes > Eyeshadow", "Bijou Noir", 22.0),
  ("Bijou Noir Matte Lipstick Ruby 0.12 Ounce", "Makeup > Lips > Lipstick", "Bijou Noir", 8.0),
  ("Bijou Noir Matte Lipstick Coral 0.12 Ounce", "Makeup > Lips > Lipstick", "Bijou Noir", 8.0),
  ("Bijou Noir Lip Gloss Set of 6 Shades", "Makeup > Lips > Lip Gloss", "Bijou Noir", 16.0),
  ("Peony Lane Eau de Parfum Spray for Women 3.4 oz", "Fragrance > Women's > Eau de Parfum", "Peony Lane", 65.0),
  ("Peony Lane Rose Body Mist 8.4 Ounce", "Fragrance > Women's > Body Mists", "Peony Lane", 19.0),
  ("Harrow Cedar Cologne for Men 4.2 Ounce Spray", "Fragrance > Men's > Cologne", "Harrow", 58.0),
  ("Harrow Sandalwood Aftershave Balm, 100 ml", "Shave > Men's > Aftershave", "Harrow", 22.0),
  ("Harrow Safety Razor with 5 Blades", "Shave > Men's > Razors & Blades", "Harrow", 27.0),
  ("Nailery Gel Nail Polish Kit with 36W Lamp, 6 Bottles", "Nails > Nail Polish", "Nailery", 34.0),
  ("Nailery Cuticle Oil Pen, 3 Count", "Nails > Nail Care", "Nailery", 9.5),
  ("Nailery Acrylic Nail Tips 500 Pieces Clear", "Nails > Nail Art", "Nailery", 7.5),
)  # fmt: skip
INSTRUMENTS = (
  ("Redwing RD-10 Dreadnought Acoustic Guitar, Natural", "Guitars > Acoustic Guitars", "Redwing", 199.0),
  ("Redwing RD-12 12-String Acoustic Guitar Sunburst", "Guitars > Acoustic Guitars", "Redwing", 289.0),
  ("Redwing Parlor Acoustic Guitar Pack with Gig Bag and Tuner", "Guitars > Acoustic Guitars", "Redwing", 159.0),
  ("Redwing Telstar Electric Guitar, Maple Neck, Black", "Guitars > Electric Guitars", "Redwing", 349.0),
  ("Redwing Telstar Left-Handed Electric Guitar White", "Guitars > Electric Guitars", "Redwing", 359.0),
  ("Redwing J-Bass 4-String Electric Bass", "Guitars > Bass Guitars", "Redwing", 379.0),
  ("Kolbe Phosphor Bronze Acoustic Guitar Strings Light .012-.053", "Accessories > Strings", "Kolbe", 6.5),
  ("Kolbe Phosphor Bronze Acoustic Guitar Strings, 3-Pack", "Accessories > Strings", "Kolbe", 17.0),
  ("Kolbe Nickel Electric Guitar Strings Regular 10-46, 10 Sets", "Accessories > Strings", "Kolbe", 45.0),
  ("Kolbe Bass Guitar Strings Medium 45-105", "Accessories > Strings", "Kolbe", 19.0),
  ("Kolbe Silver Wound Violin Strings 4/4 Set of 4", "Accessories > Strings", "Kolbe", 24.0),
  ("Kolbe Celluloid Guitar Picks Medium, 12 Count", "Accessories > Picks", "Kolbe", 4.0),
  ("Kolbe Tortex Guitar Picks Heavy 72 Pack", "Accessories > Picks", "Kolbe", 21.0),
  ("Maestrel Clip-On Tuner for Guitar, Bass, Ukulele", "Accessories > Tuners", "Maestrel", 12.0),
  ("Maestrel Pedal Tuner with LED Display", "Accessories > Tuners", "Maestrel", 69.0),
  ("Maestrel Quick-Change Guitar Capo Black", "Accessories > Capos", "Maestrel", 10.0),
  ("Maestrel Padded Leather Guitar Strap 2.5 Inch", "Accessories > Straps", "Maestrel", 29.0),
  ("Maestrel Folding Guitar Stand", "Accessories > Stands", "Maestrel", 15.0),
  ("Maestrel Music Stand with Carrying Bag", "Accessories > Stands", "Maestrel", 22.0),
  ("Maestrel Keyboard Stand Double X", "Accessories > Stands", "Maestrel", 35.0),
  ("Fuzzlab Overdrive Guitar Pedal", "Amplifiers & Effects > Effects Pedals", "Fuzzlab", 59.0),
  ("Fuzzlab Digital Delay Guitar Pedal True Bypass", "Amplifiers & Effects > Effects Pedals", "Fuzzlab", 79.0),
  ("Fuzzlab Chorus Guitar Pedal 9V", "Amplifiers & Effects > Effects Pedals", "Fuzzlab", 65.0),
  ("Fuzzlab Looper Pedal 10 Minutes", "Amplifiers & Effects > Effects Pedals", "Fuzzlab", 89.0),
  ("Fuzzlab 15 Watt Combo Guitar Amplifier", "Amplifiers & Effects > Amplifiers", "Fuzzlab", 119.0),
  ("Fuzzlab 40 Watt Bass Amplifier", "Amplifiers & Effects > Amplifiers", "Fuzzlab", 179.0),
  ("Fuzzlab Patch Cables 6 Inch, 6 Pack, Right Angle", "Accessories > Cables", "Fuzzlab", 18.0),
  ("Trelliver Instrument Cable 10 ft Straight", "Accessories > Cables", "Trelliver", 14.0),
  ("Trelliver XLR Microphone Cable 25 ft (2 Pack)", "Accessories > Cables", "Trelliver", 27.0),
  ("Trelliver Dynamic Vocal Microphone", "Recording > Microphones", "Trelliver", 89.0),
  ("Trelliver USB Condenser Microphone Kit for Podcasts", "Recording > Microphones", "Trelliver", 99.0),
  ("Trelliver Studio Headphones Closed Back", "Recording > Headphones", "Trelliver", 75.0),
  ("Trelliver 2-Channel USB Audio Interface", "Recording > Audio Interfaces", "Trelliver", 110.0),
  ("Drumhaus 5A Hickory Drum Sticks, 3 Pair", "Drums & Percussion > Drum Sticks", "Drumhaus", 18.0),
  ("Drumhaus Snare Drum 14 x 5.5 Inch Steel", "Drums & Percussion > Snare Drums", "Drumhaus", 139.0),
  ("Drumhaus Electronic Drum Kit Mesh Heads", "Drums & Percussion > Electronic Drums", "Drumhaus", 449.0),
  ("Drumhaus Cajon Birch Natural", "Drums & Percussion > Hand Drums", "Drumhaus", 99.0),
  ("Ebonette 61-Key Portable Keyboard with Stand", "Keyboards > Portable Keyboards", "Ebonette", 149.0),
  ("Ebonette 88-Key Digital Piano Weighted", "Keyboards > Digital Pianos", "Ebonette", 499.0),
  ("Ebonette Soprano Ukulele Mahogany 21 Inch", "Folk Instruments > Ukuleles", "Ebonette", 49.0),
)  # fmt: skip
FILMS = (
  ("Midnight Ferry, The (1994)", "Drama|Thriller"),
  ("Two Weddings (1997)", "Comedy|Romance"),
  ("Laugh Riot (1999)", "Comedy"),
  ("Cold Harbour (1971)", "Crime|Drama"),
  ("Tin Planet (2004)", "Action|Sci-Fi"),
  ("Ghost House (1982)", "Horror"),
)
"""Repeated with other names to make a catalogue of films."""


def catalog_of(rows):
  """A catalogue of rows of title, categories, brand and price."""
  return catalog.Catalog(
    pl.DataFrame(
      {
        "item_id": [f"i{n}" for n in range(len(rows))],
        "title": [row[0] for row in rows],
        "categories": [row[1].split(" > ") for row in rows],
        "brand": [row[2] for row in rows],
        "price": [row[3] for row in rows],
      }
    )
  )


def films():
  """A catalogue of 48 films with genres."""
  rows = []
  for number in range(48):
    title, genres = FILMS[number % len(FILMS)]
    year = int(title[-5:-1]) + number // len(FILMS)
    rows.append((f"{title[:-6]}Part {number} ({year})", genres))
  return catalog.Catalog(
    pl.DataFrame(
      {
        "item_id": [f"i{n}" for n in range(len(rows))],
        "title": [row[0] for row in rows],
        "categories": [row[1].split("|") for row in rows],
      }
    )
  )


REVIEWS = (
  "Bought it for my sister, she loves it. The quality is great.",
  "Nice for a birthday. The price is good.",
  None,
)


def prepared(items, num_users=30, length=6, ratings=None):
  """Prepared data over a catalogue: users walk through it in steps."""
  rows = []
  for user in range(num_users):
    for place in range(length):
      item = (user * 7 + place * (1 + user % 5)) % len(items)
      rows.append(
        {
          "user_id": f"u{user:03d}",
          "item_id": f"i{item}",
          "order": place,
          "timestamp": 1000 + place,
          "rating": None if ratings is None else ratings(user, place),
          "review": REVIEWS[(user + place) % 3],
        }
      )
  frame = pl.DataFrame(rows).unique(["user_id", "item_id"], maintain_order=True)
  log = interaction.InteractionLog(
    frame.cast({"rating": pl.Float64, "review": pl.String})
  )
  split = splits.leave_one_out(log)
  requests = candidates.sample_candidates(split.requests, items, log, seed=1)
  split = dataclasses.replace(split, requests=requests)
  return dataset.PreparedData(log, items, split, {})
