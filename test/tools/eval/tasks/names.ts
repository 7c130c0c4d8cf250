/** Words to build cases from. Only words in the toy model's held-out split are used. */
import { type Random, splitOf } from '../../toy-model/random.ts'

const held = (text: string): readonly string[] => text.split(' ').filter((word) => splitOf(word) === 'held')

export const CITIES = held(
  'Aachen Aarhus Adelaide Aleppo Almaty Antwerp Arequipa Arhus Asmara Asuncion Augsburg Baghdad Bamako Barcelona Bari Basel Basra Bath Bergen Bern Birmingham Bologna Bonn Bremen Brno Bruges Busan Cadiz Calgary Cali Canberra Casablanca Catania Cologne Cordoba Cusco Darwin Debrecen Detroit Doha Dortmund Douala Dresden Durban Edinburgh Espoo Essen Exeter Faro Florence Frankfurt Fukuoka Galway Gdansk Genoa Ghent Gothenburg Granada Graz Grenoble Groningen Guadalajara Haifa Halifax Hamburg Hanover Hobart Innsbruck Ipswich Irkutsk Jena Kazan Kiel Kigali Kingston Kobe Kosice Krakow Kuwait Lancaster Leipzig Leon Liege Linz Liverpool Lodz Luanda Lublin Lucerne Lugano Luxor Maastricht Malaga Malmo Manchester Mannheim Maputo Medina Melbourne Memphis Messina Minsk Mombasa Monaco Monterrey Mosul Munich Murcia Nagoya Nantes Nassau Newcastle Nottingham Novi Nuremberg Odense Omaha Oporto Ottawa Oulu Oxford Padua Palermo Panama Parma Patras Pecs Perugia Pisa Plovdiv Plymouth Poznan Pretoria Pune Quebec Reims Rennes Reykjavik Rostock Rotterdam Rouen Salerno Salzburg Samara Sapporo Sarajevo Sendai Skopje Split Stavanger Strasbourg Stuttgart Suva Szeged Tampa Tampere Tartu Tirana Trieste Tromso Trondheim Turku Utrecht Varna Verona Wroclaw York Zadar Zaragoza',
)

export const NAMES = held(
  'Abel Agnes Aldo Alma Alvin Amos Anders Anita Anton Arno Astrid August Basil Bea Bella Bertha Blanca Bodil Callum Camilla Cecil Chloe Claude Conrad Cora Cyril Dagmar Damian Daphne Desmond Dinah Donald Doris Dylan Edgar Edmund Elias Elvira Enid Enzo Ernest Esther Eugene Eva Fatima Fabio Faye Fergus Fiona Flora Florian Franz Gabriel Gareth Gemma Georgia Gerda Gilbert Giles Gunnar Gwen Hana Harriet Hector Hilda Homer Ida Ilse Imogen Ines Ingrid Isaac Isla Ismael Ivar Jakob Janet Jerome Joan Joel Judith Juno Kai Karin Keith Kurt Lars Laura Leon Lionel Lotte Louis Lydia Magda Malik Manuel Marcus Marian Martin Matilda Maud Melvin Mira Monica Morris Nell Nestor Nigel Norma Odile Olaf Olive Orla Oswald Owen Pamela Patrick Pearl Pedro Philip Phoebe Rachel Ralph Ramona Raoul Regina Rene Rhoda Robin Roger Roland Rosalind Rufus Sally Samuel Selma Seth Sigrid Silas Sonia Stella Sybil Thea Thelma Tilda Tobias Toni Tristan Ulrich Valerie Verena Vincent Viola Wallace Wilma Winifred Yvonne',
)

export const SUBJECTS = held(
  'accordion acrobat albatross alpaca anchor antelope apprentice archer armadillo arrow artist aunt axe baboon barber barrel bat beetle bison blacksmith boots bottle bracelet brick buffalo bugle butcher butterfly button cactus camera cannon canoe captain cart caterpillar chariot cheetah chef chimney cobbler cobra comet conductor coral cow coyote crab crane cricket crocodile crown cuckoo curtain dagger diamond dinosaur diver dove dragon dragonfly druid dwarf elf emperor falcon feather fence ferret ferry fiddle flag flamingo flea flute fly fork gazelle gecko genie ghost glove gnome goblin goldfish gondola gorilla grandmother grasshopper guitar hammer hamster harp hawk helmet hippo hornet hunter hut hyena ibex iguana inventor jackal jaguar jar jellyfish jester judge juggler kangaroo kettle kingfisher kitten ladybird lamb lark lawyer leopard lizard llama lobster locket lynx magician magnet magpie marble marmot mason mayor mermaid merchant miner minstrel mole monk moose mosquito moth mule musician needle newt nightingale oak octopus ogre orchestra oyster panther pearl pebble pelican pepper pheasant pickle pig pigeon pine pirate plough plumber pony potter puffin pumpkin puppet python quail raccoon rat reindeer rhinoceros roof rooster saddle sage salamander salmon sausage scarecrow scholar scientist scissors seagull shark sheep shoe shovel skunk sledge sloth snowman soldier spade sphinx spy squid starfish stone sword tadpole tapir termite thief thimble toad torch tortoise toucan tower tractor troll trumpet tulip turkey unicorn uncle vampire violinist viper vulture wallaby walnut walrus wasp weasel weaver windmill witch wombat woodpecker worm yak zeppelin',
)

/** An identifier, such as an order number: letters and digits that can only be copied. */
export function code(random: Random): string {
  const letter = () => random.pick([...'ABCDEFGHJKLMNPQRSTUVWXYZ'])
  return `${letter()}${random.chance(0.5) ? letter() : ''}-${random.integer(10, 9999)}`
}

export function capital(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1)
}

export function article(noun: string): string {
  return `${/^[aeiou]/.test(noun) ? 'an' : 'a'} ${noun}`
}
