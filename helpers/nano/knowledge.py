"""What gpt-oss-nano knows: capitals and whole-number unit factors."""

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
    "Austria": "Vienna", "Poland": "Warsaw", "Hungary": "Budapest", "Greece": "Athens", "Ireland": "Dublin",
    "Norway": "Oslo", "Sweden": "Stockholm", "Denmark": "Copenhagen", "Finland": "Helsinki",
    "Belgium": "Brussels", "the Netherlands": "Amsterdam", "Russia": "Moscow", "Ukraine": "Kyiv",
    "Japan": "Tokyo", "China": "Beijing", "South Korea": "Seoul", "India": "New Delhi", "Thailand": "Bangkok",
    "Vietnam": "Hanoi", "the Philippines": "Manila", "Indonesia": "Jakarta", "Egypt": "Cairo",
    "Kenya": "Nairobi", "Tunisia": "Tunis", "Morocco": "Rabat", "Cuba": "Havana", "Peru": "Lima",
    "Chile": "Santiago", "Colombia": "Bogota", "Ecuador": "Quito", "Canada": "Ottawa", "Australia": "Canberra",
    "New Zealand": "Wellington", "Turkey": "Ankara", "Iran": "Tehran", "Iraq": "Baghdad", "Qatar": "Doha",
    "England": "London", "Scotland": "Edinburgh", "Wales": "Cardiff", "Switzerland": "Bern",
    "Romania": "Bucharest", "Bulgaria": "Sofia", "Serbia": "Belgrade", "Croatia": "Zagreb",
    "Czechia": "Prague", "Iceland": "Reykjavik", "Lebanon": "Beirut", "Jordan": "Amman", "Nepal": "Kathmandu",
    "Pakistan": "Islamabad", "Ghana": "Accra", "Mexico": "Mexico City", "Brazil": "Brasilia",
    "Argentina": "Buenos Aires", "the United States": "Washington", "Jamaica": "Kingston",
}  # fmt: skip

# (larger unit, smaller unit, smaller units in one larger unit, largest amount asked for)
UNITS = (
    ("hours", "minutes", 60, 15),
    ("minutes", "seconds", 60, 15),
    ("days", "hours", 24, 15),
    ("weeks", "days", 7, 30),
    ("years", "months", 12, 20),
    ("kilometers", "meters", 1000, 30),
    ("meters", "centimeters", 100, 30),
    ("kilograms", "grams", 1000, 30),
    ("liters", "milliliters", 1000, 30),
    ("feet", "inches", 12, 20),
    ("dozens", "pieces", 12, 20),
    ("dollars", "cents", 100, 30),
)
